//! A form, when all of it has come.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ropewalk_core::FileRegion;

use super::extractor::{Field, Multipart};
use crate::answer::Rejection;
use crate::blocking::blocking;
use crate::body::Body;

/// What of a file waits in memory before a thread writes it.
const GATHER: usize = 64 * 1024;

/// The fields and files of a form, in their order.
#[derive(Debug, Default)]
pub struct FormData {
    /// Names and values of what is no file.
    pub fields: Vec<(String, String)>,
    /// The files.
    pub files: Vec<UploadedFile>,
}

/// A file of a form: in memory if it is short, otherwise in a temporary file that has no name. Those of one
/// form share it, and it is gone when all of them are dropped.
#[derive(Debug)]
pub struct UploadedFile {
    /// The name of the field.
    pub name: String,
    /// What it is called on the client's side, without folders. It is not yours: do not open it.
    pub file_name: String,
    /// What the client takes its type for.
    pub content_type: Option<String>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Memory(Bytes),
    File(FileRegion),
}

/// The temporary file of a form, when there is one.
#[derive(Default)]
struct Spool {
    file: Option<Arc<File>>,
    len: u64,
}

impl FormData {
    /// The first value of the field `name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(own, _)| own == name);
        field.map(|(_, value)| &**value)
    }

    /// The first file of the field `name`.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&UploadedFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

impl UploadedFile {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.content {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::File(region) => region.len,
        }
    }

    /// Whether it has no bytes, as where none was chosen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its content, if it is in memory.
    #[must_use]
    pub fn in_memory(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Memory(bytes) => Some(bytes),
            Content::File(_) => None,
        }
    }

    /// Its content, to be sent to somebody.
    #[must_use]
    pub fn into_body(self) -> Body {
        match self.content {
            Content::Memory(bytes) => bytes.into(),
            Content::File(region) => region.into(),
        }
    }

    /// Writes its content to a file of yours, which is made anew, on a thread.
    ///
    /// # Errors
    /// What the system says.
    pub async fn save(&self, path: impl AsRef<Path>) -> Result<(), ropewalk_core::Failure> {
        let path = path.as_ref().to_owned();
        match &self.content {
            Content::Memory(bytes) => {
                let bytes = bytes.clone();
                blocking(move || std::fs::write(path, bytes)).await
            }
            Content::File(region) => {
                let region = region.clone();
                blocking(move || copy(&region, &path)).await
            }
        }
    }
}

impl Multipart {
    /// Reads all of the form. Files longer than [`Limits::in_memory`](super::Limits::in_memory) go to
    /// a temporary file, which threads of the reactor write.
    ///
    /// ```
    /// use ropewalk_web::answer::Rejection;
    /// use ropewalk_web::multipart::Multipart;
    ///
    /// async fn upload(form: Multipart) -> Result<String, Rejection> {
    ///     let form = form.collect().await?;
    ///     let photo = form.file("photo").ok_or_else(|| Rejection::bad_request("send a photo"))?;
    ///     Ok(format!("{} has {} bytes", photo.file_name, photo.len()))
    /// }
    /// # let _ = ropewalk_web::router::post(upload);
    /// ```
    ///
    /// # Errors
    /// As [`next_field`](Self::next_field); 500 if a temporary file cannot be written.
    pub async fn collect(mut self) -> Result<FormData, Rejection> {
        let mut form = FormData::default();
        let mut room = self.limits().all_fields;
        let mut memory = self.limits().all_in_memory;
        let mut spool = Spool::default();
        while let Some(field) = self.next_field().await? {
            let name = field.name().to_owned();
            if field.file_name().is_some() {
                let file = file(field, memory, &mut spool).await?;
                memory -= file.in_memory().map_or(0, Bytes::len);
                form.files.push(file);
                continue;
            }
            let too_large = field.form().too_large();
            let value = field.text().await?;
            room = room
                .checked_sub(name.len() + value.len())
                .ok_or(too_large)?;
            form.fields.push((name, value));
        }
        Ok(form)
    }
}

/// Copies to a new file. Others may read from the same file meanwhile, whose position stays as it is.
fn copy(region: &FileRegion, path: &Path) -> io::Result<()> {
    let mut copy = File::create(path)?;
    let mut piece = vec![0; GATHER];
    let mut at = region.offset;
    let end = region.offset + region.len;
    while at < end {
        let len = (end - at).min(GATHER as u64) as usize;
        region.file.read_exact_at(&mut piece[..len], at)?;
        copy.write_all(&piece[..len])?;
        at += len as u64;
    }
    Ok(())
}

/// Reads a file, of which so much may stay in memory.
async fn file(
    mut field: Field<'_>,
    memory: usize,
    spool: &mut Spool,
) -> Result<UploadedFile, Rejection> {
    let limits = field.form().limits().clone();
    let in_memory = limits.in_memory.min(memory);
    let mut gathered: Vec<u8> = Vec::new();
    let offset = spool.len;
    while let Some(data) = field.chunk().await? {
        gathered.extend_from_slice(&data);
        let written = spool.len - offset;
        if written + gathered.len() as u64 > limits.file {
            return Err(field.form().too_large());
        }
        let enough = match written {
            0 => gathered.len() > in_memory,
            _ => gathered.len() >= GATHER,
        };
        if enough {
            spool.write(&field, std::mem::take(&mut gathered)).await?;
        }
    }
    let content = match spool.len - offset {
        0 => Content::Memory(gathered.into()),
        _ => Content::File(spool.end(&field, offset, gathered).await?),
    };
    let content_type = field.content_type().map(str::to_owned);
    let disposition = field.into_disposition();
    Ok(UploadedFile {
        name: disposition.name,
        file_name: disposition.file_name.unwrap_or_default(),
        content_type,
        content,
    })
}

impl Spool {
    /// Adds a piece to the temporary file, which is made for the first one.
    async fn write(&mut self, field: &Field<'_>, piece: Vec<u8>) -> Result<Arc<File>, Rejection> {
        let (file, at, len) = (self.file.take(), self.len, piece.len() as u64);
        let written = blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(tempfile::tempfile()?),
            };
            file.write_all_at(&piece, at)?;
            Ok(file)
        });
        let file = written.await.map_err(|failure| {
            tracing::error!(
                failure = &*failure.to_error(),
                "cannot keep an uploaded file in the folder for temporary files: is there room in it?"
            );
            field.form().failed()
        })?;
        self.file = Some(Arc::clone(&file));
        self.len += len;
        Ok(file)
    }

    /// Adds the last piece of a file that began at `offset`.
    async fn end(
        &mut self,
        field: &Field<'_>,
        offset: u64,
        piece: Vec<u8>,
    ) -> Result<FileRegion, Rejection> {
        let file = self.write(field, piece).await?;
        let len = self.len - offset;
        Ok(FileRegion { file, offset, len })
    }
}
