//! Files that are named themselves: also pipes that somebody writes to, such as a shell's `<(…)`, but nothing that would
//! be waited for without end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Why a file that was named is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadNamedError {
    #[error("it is {0}, not a file; name a file, or - and pipe into it")]
    NoFile(&'static str),
    #[error("nobody writes to this pipe; name a file, or start what writes to it first")]
    NoWriter,
    #[error("larger than 16 MiB")]
    TooLarge,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads it as a whole.
///
/// # Errors
///
/// Where it cannot be read, nobody knows whether it would ever end, or it is too large.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ReadNamedError> {
    let mut content = Vec::new();
    // No more than shows that it is too large.
    let most = u64::try_from(MAX_BYTES + 1).unwrap_or(u64::MAX);
    let read = open(path)?.take(most).read_to_end(&mut content);
    read.map_err(|error| match error.downcast() {
        Ok(own) => own,
        Err(error) => ReadNamedError::Io(error),
    })?;
    if content.len() > MAX_BYTES {
        return Err(ReadNamedError::TooLarge);
    }
    Ok(content)
}

/// Opens it to be read on and on: nothing is waited for but what somebody writes.
///
/// # Errors
///
/// Where it cannot be read, or is what may never end.
pub(super) fn open(path: &Path) -> Result<Named, ReadNamedError> {
    let kind = fs::metadata(path)?.file_type();
    let is_device = kind.is_char_device() || kind.is_block_device();
    if kind.is_socket() {
        return Err(ReadNamedError::NoFile("a socket"));
    }
    if is_device && fs::canonicalize(path)? != Path::new(NOTHING) {
        return Err(ReadNamedError::NoFile("a device"));
    }
    let mut options = OpenOptions::new();
    if kind.is_fifo() {
        // To open it as a file would wait for a writer.
        options.custom_flags(OFlag::O_NONBLOCK.bits());
    }
    Ok(Named {
        file: options.read(true).open(path)?,
        is_silent: kind.is_fifo(),
    })
}

/// A file, or a pipe that somebody writes to.
#[derive(Debug)]
pub(super) struct Named {
    file: File,
    /// Whether it is a pipe, and nothing has come yet.
    is_silent: bool,
}

impl Read for Named {
    /// A pipe ends at once where nobody has it open to write, and has only nothing yet where somebody does.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read(into) {
                Ok(0) if self.is_silent && !into.is_empty() => {
                    return Err(io::Error::other(ReadNamedError::NoWriter));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut waited = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
                    poll(&mut waited, PollTimeout::NONE)?;
                }
                read => {
                    self.is_silent &= matches!(read, Ok(0));
                    return read;
                }
            }
        }
    }
}

const MAX_BYTES: usize = 16 * 1024 * 1024;
/// People name it for an empty file.
const NOTHING: &str = "/dev/null";

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixListener;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn what_would_be_waited_for_without_end_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let [pipe, socket] = ["pipe", "socket"].map(|name| folder.path().join(name));
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        assert!(matches!(read(&pipe), Err(ReadNamedError::NoWriter)));
        let device = Path::new("/dev/zero");
        for (path, expected) in [(&*socket, "a socket"), (device, "a device")] {
            let error = read(path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(read(Path::new(NOTHING)).unwrap(), b"");
        assert!(read(&folder.path().join("none")).is_err());
    }

    /// As a shell names `<(…)`; more than it holds at once.
    #[test]
    fn a_pipe_that_somebody_writes_to_is_read_to_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let text = vec![b'x'; 300_000];
        let written = text.clone();
        let writing = std::thread::spawn(move || writer.write_all(&written));
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        assert_eq!(read(Path::new(&path)).unwrap(), text);
        writing.join().unwrap().unwrap();
    }

    #[test]
    fn what_is_too_large_is_not_read_on() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(u64::from(u32::MAX)).unwrap();
        assert!(matches!(read(file.path()), Err(ReadNamedError::TooLarge)));
    }
}
