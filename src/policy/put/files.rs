//! Files of a local mesh's directory, written so that either all of them are as they are to be, or none.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::standing::Write;

/// Why files are not as they are to be.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("cannot write {path}; nothing was applied")]
    Write {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("{0} was changed meanwhile, and nothing was applied; look at it, and apply again")]
    Changed(PathBuf),
    #[error("cannot write {path}, and {left} cannot be put back to what it was; look at both")]
    Half {
        path: PathBuf,
        left: PathBuf,
        #[source]
        error: io::Error,
    },
}

/// Each under its name only once all of them are written: control reads files while they are, and what cannot be
/// written shows before anything is in force.
pub(super) fn write(directory: &Path, writes: &[Write]) -> Result<(), WriteError> {
    let written = unfinished(directory, writes);
    let done = written.and_then(|()| rename(directory, writes));
    if done.is_err() {
        for one in writes {
            // Those that were not made yet, or have their names already, are not there.
            fs::remove_file(unfinished_name(directory, one)).ok();
        }
    }
    done
}

fn unfinished_name(directory: &Path, one: &Write) -> PathBuf {
    directory.join(format!(".{}.new", one.name))
}

fn unfinished(directory: &Path, writes: &[Write]) -> Result<(), WriteError> {
    for one in writes {
        let path = directory.join(&one.name);
        let written = write_one(&unfinished_name(directory, one), &path, &one.text);
        written.map_err(|error| WriteError::Write { path, error })?;
    }
    // Whoever edits one of them has the last word.
    let is_changed =
        |one: &&Write| fs::read_to_string(directory.join(&one.name)).ok() != one.former;
    match writes.iter().find(is_changed) {
        Some(one) => Err(WriteError::Changed(directory.join(&one.name))),
        None => Ok(()),
    }
}

/// With the mode and, where that may be, the owner of the one that it is to replace.
fn write_one(new: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(new)?;
    file.write_all(text.as_bytes())?;
    if let Ok(former) = fs::metadata(path)
        && former.is_file()
    {
        file.set_permissions(former.permissions())?;
        std::os::unix::fs::fchown(&file, Some(former.uid()), Some(former.gid())).ok();
    }
    file.sync_all()
}

fn rename(directory: &Path, writes: &[Write]) -> Result<(), WriteError> {
    for (index, one) in writes.iter().enumerate() {
        let path = directory.join(&one.name);
        let Err(error) = fs::rename(unfinished_name(directory, one), &path) else {
            continue;
        };
        let renamed = writes.iter().take(index).rev();
        for one in renamed {
            let left = directory.join(&one.name);
            if put_back(directory, one).is_err() {
                return Err(WriteError::Half { path, left, error });
            }
        }
        return Err(WriteError::Write { path, error });
    }
    Ok(())
}

fn put_back(directory: &Path, one: &Write) -> io::Result<()> {
    let path = directory.join(&one.name);
    let Some(former) = &one.former else {
        return fs::remove_file(path);
    };
    let new = unfinished_name(directory, one);
    write_one(&new, &path, former)?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn to(name: &str, text: &str, former: Option<&str>) -> Write {
        Write {
            name: name.to_owned(),
            text: text.to_owned(),
            former: former.map(str::to_owned),
            place: name.to_owned(),
        }
    }

    fn held(directory: &Path) -> Vec<(String, String)> {
        let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
        let files = entries.filter(|entry| entry.path().is_file());
        let mut held: Vec<_> = files
            .map(|entry| {
                let text = fs::read_to_string(entry.path()).unwrap();
                (entry.file_name().into_string().unwrap(), text)
            })
            .collect();
        held.sort();
        held
    }

    fn held_as(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        files.iter().map(own).collect()
    }

    #[test]
    fn all_files_are_written_with_the_modes_that_they_have() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yaml");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let writes = [to("a.yaml", "new", Some("old")), to("b.yaml", "b", None)];
        write(directory.path(), &writes).unwrap();
        let expected = held_as(&[("a.yaml", "new"), ("b.yaml", "b")]);
        assert_eq!(held(directory.path()), expected);
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[test]
    fn where_one_cannot_be_written_all_are_as_they_were() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("b.yaml"), "old").unwrap();
        // No file takes the place of a directory.
        fs::create_dir(directory.path().join("c.yaml")).unwrap();
        let writes = [
            to("a.yaml", "a", None),
            to("b.yaml", "new", Some("old")),
            to("c.yaml", "c", None),
        ];
        let error = write(directory.path(), &writes).unwrap_err();
        assert!(matches!(error, WriteError::Write { .. }), "{error:?}");
        assert_eq!(held(directory.path()), held_as(&[("b.yaml", "old")]));
    }

    #[test]
    fn what_somebody_edits_meanwhile_is_not_taken_from_them() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("b.yaml"), "theirs").unwrap();
        for writes in [
            [to("a.yaml", "a", None), to("b.yaml", "new", Some("old"))],
            [to("a.yaml", "a", None), to("b.yaml", "new", None)],
        ] {
            let error = write(directory.path(), &writes).unwrap_err();
            assert!(matches!(error, WriteError::Changed(_)), "{error:?}");
            assert_eq!(held(directory.path()), held_as(&[("b.yaml", "theirs")]));
        }
    }
}
