//! What a host keeps when its power fails.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// The disk of a host: files by their names, in memory. What was written is on it for good when it
/// was [synced](Self::sync); what was not is lost when the host crashes.
///
/// ```
/// use ropewalk_sim::World;
///
/// let world = World::new(1);
/// let host = world.host("host");
/// host.disk().write("a", b"kept");
/// host.disk().sync("a");
/// host.disk().write("a", b"lost");
/// host.disk().append("b", b"lost");
/// assert_eq!(host.disk().read("a").unwrap(), b"lost");
/// host.crash();
/// assert_eq!(host.disk().read("a").unwrap(), b"kept");
/// assert_eq!(host.disk().read("b"), None);
/// ```
#[derive(Clone, Default)]
pub struct Disk {
    files: Rc<RefCell<BTreeMap<String, File>>>,
}

#[derive(Default)]
struct File {
    now: Option<Vec<u8>>,
    synced: Option<Vec<u8>>,
}

impl Disk {
    /// What stands in a file; `None` if there is none.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.files.borrow().get(name)?.now.clone()
    }

    /// Makes a file of these bytes, in the place of what stood there.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let mut files = self.files.borrow_mut();
        files.entry(name.to_owned()).or_default().now = Some(bytes.to_vec());
    }

    /// Adds bytes to the end of a file, which is made if there is none.
    pub fn append(&self, name: &str, bytes: &[u8]) {
        let mut files = self.files.borrow_mut();
        let file = files.entry(name.to_owned()).or_default();
        file.now.get_or_insert_default().extend(bytes);
    }

    /// Removes a file: for good when that is synced.
    pub fn remove(&self, name: &str) {
        if let Some(file) = self.files.borrow_mut().get_mut(name) {
            file.now = None;
        }
    }

    /// Waits until the file as it is now is on the disk for good. It takes no time.
    pub fn sync(&self, name: &str) {
        if let Some(file) = self.files.borrow_mut().get_mut(name) {
            file.synced.clone_from(&file.now);
        }
    }

    /// The power fails.
    pub(crate) fn lose_unsynced(&self) {
        for file in self.files.borrow_mut().values_mut() {
            file.now.clone_from(&file.synced);
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files.borrow();
        f.debug_set().entries(files.keys()).finish()
    }
}
