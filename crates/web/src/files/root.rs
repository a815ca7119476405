//! The folder that is served, and the only way to a file in it.
//!
//! A name is resolved *beneath* the root: the kernel's `openat2(RESOLVE_BENEATH)` checks each
//! step, symbolic links included, as it opens, so that there is no moment between check and use
//! in which a link could be swapped. What the kernel refuses only because a link is absolute,
//! and all names where there is no `openat2`, are resolved here, and then opened step by step
//! with links refused, which leaves no such moment either. Links that stay inside work.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use http::StatusCode;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// A device must not become our terminal, and a FIFO that nobody writes must not hold the loop.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Opens a folder that need only be passed through, not read.
#[cfg(any(target_os = "linux", target_os = "android"))]
const PASS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const PASS: OFlags = READ.union(OFlags::DIRECTORY);

/// The kernel asks to try again when a folder is moved while it resolves a `..` beneath it.
const ATTEMPTS: usize = 4;

pub(crate) struct Root {
    path: PathBuf,
    folder: RefCell<Rc<Folder>>,
    beneath: Cell<bool>,
}

struct Folder {
    descriptor: OwnedFd,
    identity: (u64, u64),
}

impl Root {
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let folder = Folder::open(&path).map_err(|error| {
            let kind = error.kind();
            let path = path.display();
            io::Error::new(
                kind,
                format!("cannot serve files from {path}: {error}; name a folder that can be read"),
            )
        })?;
        Ok(Self {
            path,
            folder: RefCell::new(Rc::new(folder)),
            beneath: Cell::new(true),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what `name`, a path relative to the root, stands for.
    pub(super) fn open(&self, name: &[u8]) -> io::Result<File> {
        self.open_as(name, READ).map(File::from)
    }

    /// The folder `name`, to reach what is in it.
    pub(crate) fn pass(&self, name: &[u8]) -> io::Result<OwnedFd> {
        self.open_as(name, PASS)
    }

    /// Whether `name` is a folder, even if it may not be read.
    pub(super) fn is_folder(&self, name: &[u8]) -> bool {
        self.open_as(name, PASS).is_ok()
    }

    fn open_as(&self, name: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let name = Path::new(OsStr::from_bytes(if name.is_empty() { b"." } else { name }));
        let folder = self.folder();
        let folder = folder.descriptor.as_fd();
        if self.beneath.get() {
            for _ in 0..ATTEMPTS {
                match open_beneath(folder, name, flags) {
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    // An absolute link, or a link out.
                    Err(Errno::XDEV) => break,
                    // Older containers forbid what they do not know.
                    Err(Errno::NOSYS | Errno::PERM) => {
                        self.beneath.set(false);
                        break;
                    }
                    result => return Ok(result?),
                }
            }
        }
        self.open_by_steps(folder, name, flags)
    }

    fn open_by_steps(
        &self,
        folder: BorrowedFd<'_>,
        name: &Path,
        flags: OFlags,
    ) -> io::Result<OwnedFd> {
        let target = fs::canonicalize(self.path.join(name))?;
        let inside = target
            .strip_prefix(fs::canonicalize(&self.path)?)
            .map_err(|_| Errno::XDEV)?;
        let mut reached: Option<OwnedFd> = None;
        let mut steps = inside.iter().peekable();
        while let Some(step) = steps.next() {
            let last = steps.peek().is_none();
            let flags = if last { flags } else { PASS } | OFlags::NOFOLLOW;
            let from = reached.as_ref().map_or(folder, AsFd::as_fd);
            reached = Some(rustix::fs::openat(from, step, flags, Mode::empty())?);
        }
        match reached {
            Some(file) => Ok(file),
            None => Ok(rustix::fs::openat(folder, ".", flags, Mode::empty())?),
        }
    }

    /// The folder that the root's path names now: a site is often exchanged for its next version
    /// by renaming a folder, or by turning a link.
    fn folder(&self) -> Rc<Folder> {
        if let Ok(metadata) = fs::metadata(&self.path)
            && identity(&metadata) != self.folder.borrow().identity
            && let Ok(folder) = Folder::open(&self.path)
        {
            self.folder.replace(Rc::new(folder));
        }
        self.folder.borrow().clone()
    }
}

impl Folder {
    fn open(path: &Path) -> io::Result<Self> {
        let descriptor = rustix::fs::open(path, PASS, Mode::empty())?;
        let file = File::from(descriptor);
        let identity = identity(&file.metadata()?);
        Ok(Self {
            descriptor: file.into(),
            identity,
        })
    }
}

/// The answer when the system did not open or read a file.
pub(crate) fn refusal(error: &io::Error, name: &[u8]) -> StatusCode {
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM) => StatusCode::FORBIDDEN,
        Some(
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::NAMETOOLONG
            // It leads out of the root.
            | Errno::XDEV
            // A socket, or a device that is not there.
            | Errno::NXIO
            | Errno::NODEV
            | Errno::OPNOTSUPP,
        ) => StatusCode::NOT_FOUND,
        Some(Errno::MFILE | Errno::NFILE) => {
            tracing::warn!(
                %error,
                "no descriptor left to open a file: raise the limit of open files (ulimit -n)"
            );
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => {
            let name = String::from_utf8_lossy(name);
            tracing::error!(%error, %name, "cannot read a file that was asked for");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn open_beneath(folder: BorrowedFd<'_>, name: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    use rustix::fs::{ResolveFlags, openat2};
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(folder, name, flags, Mode::empty(), resolve)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn open_beneath(_: BorrowedFd<'_>, _: &Path, _: OFlags) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    /// A site beside a secret, with links of all kinds between the two.
    fn site() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let site = dir.path().join("site");
        fs::create_dir_all(site.join("docs/deep")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(site.join("page"), "page").unwrap();
        fs::write(site.join("docs/deep/leaf"), "leaf").unwrap();
        symlink("page", site.join("relative")).unwrap();
        symlink(site.join("page"), site.join("absolute")).unwrap();
        symlink("docs/deep", site.join("folder")).unwrap();
        symlink("../../page", site.join("docs/deep/up")).unwrap();
        symlink("../secret", site.join("out")).unwrap();
        symlink(dir.path().join("secret"), site.join("out-absolute")).unwrap();
        symlink("..", site.join("parent")).unwrap();
        symlink("/", site.join("slash")).unwrap();
        symlink("out", site.join("out-by-two")).unwrap();
        symlink("../site/page", site.join("out-and-back")).unwrap();
        symlink("loop", site.join("loop")).unwrap();
        symlink("nowhere", site.join("dangling")).unwrap();
        let root = Root::new(&site).unwrap();
        (dir, root)
    }

    fn read(root: &Root, name: &str) -> Result<String, StatusCode> {
        let mut text = String::new();
        root.open(name.as_bytes())
            .and_then(|mut file| file.read_to_string(&mut text))
            .map_err(|error| refusal(&error, name.as_bytes()))?;
        Ok(text)
    }

    /// Both ways to resolve a name must agree.
    fn both_ways(root: &Root, check: impl Fn(&Root)) {
        check(root);
        root.beneath.set(false);
        check(root);
        root.beneath.set(true);
    }

    #[test]
    fn links_that_stay_inside_are_followed() {
        let (_dir, root) = site();
        both_ways(&root, |root| {
            for name in ["page", "relative", "absolute", "docs/deep/up", "folder/up"] {
                assert_eq!(read(root, name).as_deref(), Ok("page"), "{name}");
            }
            assert_eq!(read(root, "folder/leaf").as_deref(), Ok("leaf"));
            assert!(root.is_folder(b"") && root.is_folder(b"folder"));
            assert!(!root.is_folder(b"page") && !root.is_folder(b"parent"));
        });
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        let (_dir, root) = site();
        both_ways(&root, |root| {
            for name in [
                "../secret",
                "docs/../../secret",
                "out",
                "out-absolute",
                "out-by-two",
                "parent/secret",
                "parent/site/out",
                "slash/etc/passwd",
                "/etc/passwd",
                "loop",
                "dangling",
                "page/x",
                "nothing",
            ] {
                assert_eq!(read(root, name), Err(StatusCode::NOT_FOUND), "{name}");
            }
            assert_eq!(
                read(root, &"x".repeat(300)),
                Err(StatusCode::NOT_FOUND),
                "a name that is too long"
            );
        });
    }

    #[test]
    fn a_root_that_was_exchanged_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["one", "two"] {
            fs::create_dir(dir.path().join(version)).unwrap();
            fs::write(dir.path().join(version).join("page"), version).unwrap();
        }
        let current = dir.path().join("current");
        symlink("one", &current).unwrap();
        let root = Root::new(&current).unwrap();
        assert_eq!(read(&root, "page").as_deref(), Ok("one"));
        fs::remove_file(&current).unwrap();
        assert_eq!(read(&root, "page").as_deref(), Ok("one"), "in between");
        symlink("two", &current).unwrap();
        assert_eq!(read(&root, "page").as_deref(), Ok("two"));
    }

    #[test]
    fn a_root_must_be_a_folder() {
        let (dir, _root) = site();
        let error = Root::new(&dir.path().join("secret")).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        assert!(error.to_string().contains("secret"), "{error}");
        let error = Root::new(&dir.path().join("nowhere")).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn each_error_has_its_status() {
        for (errno, status) in [
            (Errno::ACCESS, 403),
            (Errno::PERM, 403),
            (Errno::NOENT, 404),
            (Errno::NOTDIR, 404),
            (Errno::LOOP, 404),
            (Errno::NAMETOOLONG, 404),
            (Errno::XDEV, 404),
            (Errno::NXIO, 404),
            (Errno::MFILE, 503),
            (Errno::NFILE, 503),
            (Errno::IO, 500),
        ] {
            assert_eq!(refusal(&errno.into(), b"x").as_u16(), status, "{errno}");
        }
    }

    #[test]
    fn no_name_opens_what_is_outside() {
        let (dir, root) = site();
        let outside = [dir.path().to_path_buf(), dir.path().join("secret")];
        let outside = outside.map(|path| identity(&fs::metadata(path).unwrap()));
        let names = prop::sample::select(vec![
            "..",
            ".",
            "",
            "parent",
            "slash",
            "docs",
            "deep",
            "folder",
            "up",
            "out",
            "secret",
            "site",
            "page",
            "out-absolute",
        ]);
        let names = prop::collection::vec(names, 1..8);
        proptest!(|(names in names)| {
            let name = names.join("/");
            both_ways(&root, |root| {
                if let Ok(file) = root.open(name.as_bytes()) {
                    let opened = identity(&file.metadata().unwrap());
                    assert!(!outside.contains(&opened), "{name}");
                }
            });
        });
    }
}
