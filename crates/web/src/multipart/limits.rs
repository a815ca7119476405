//! How much of the server one form may use.

/// The bounds of one form. All of them hold by default; the body has its own limit besides.
///
/// ```
/// use ropewalk_web::multipart::Limits;
///
/// let mut limits = Limits::default();
/// limits.fields = 20;
/// assert_eq!(limits.in_memory, 100_000);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Parts of a form, files included. Default: 1000.
    pub fields: usize,
    /// Bytes of the head of a part. Default: 8 KiB.
    pub head: usize,
    /// Bytes of a field that is no file, when it is read whole. Default: 1 MiB.
    pub field: usize,
    /// Bytes of a file, when the form is collected. Default: no limit but that of the body.
    pub file: u64,
    /// Bytes of a file that stay in memory when the form is collected: larger ones go to the temporary
    /// file of the form. Default: 100,000.
    pub in_memory: usize,
    /// Bytes of all files that stay in memory when the form is collected: when these are used up, the
    /// others go to the temporary file, however short they are. Default: 1 MiB.
    pub all_in_memory: usize,
    /// Bytes of all fields that are no files, when the form is collected. Default: 1 MiB.
    pub all_fields: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fields: 1000,
            head: 8 * 1024,
            field: 1024 * 1024,
            file: u64::MAX,
            in_memory: 100_000,
            all_in_memory: 1024 * 1024,
            all_fields: 1024 * 1024,
        }
    }
}
