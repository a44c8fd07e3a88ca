//! The Unix socket of a listener: a file that is there while it accepts.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Where a Unix socket is, and who may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixPlace {
    /// Its path.
    pub path: PathBuf,
    /// Its permission bits: 0o700 lets its owner connect.
    pub mode: u32,
}

/// A bound socket whose file goes with it.
pub(super) struct UnixSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl UnixSocket {
    /// Binds. A socket that nobody listens to any more is replaced; any other file, and a socket in use, is not.
    pub(super) fn bind(place: &UnixPlace) -> io::Result<Self> {
        remove_stale(&place.path)?;
        // Nobody may connect before the permissions are what they should be: the socket is made where nobody else looks,
        // and moved.
        let hidden = hidden(&place.path);
        let listener = UnixListener::bind(&hidden)?;
        let placed = std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(place.mode))
            .and_then(|()| std::fs::rename(&hidden, &place.path));
        if placed.is_err() {
            drop(std::fs::remove_file(&hidden));
        }
        placed.map(|()| Self { listener, path: place.path.clone() })
    }
}

fn hidden(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("larder-unix-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let place = UnixPlace { path: folder.join("s"), mode: 0o700 };
        let bound = UnixSocket::bind(&place).unwrap();
        let mode = std::fs::metadata(&place.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(UnixSocket::bind(&place).err().unwrap().kind(), io::ErrorKind::AddrInUse);
        drop(bound);
        assert!(!place.path.exists());
        // As a killed server leaves it.
        drop(std::os::unix::net::UnixListener::bind(&place.path).unwrap());
        assert!(place.path.exists());
        drop(UnixSocket::bind(&place).unwrap());
        std::fs::write(&place.path, "data").unwrap();
        assert_eq!(UnixSocket::bind(&place).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&place.path).unwrap(), b"data");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
