//! The folder that keeps accounts and certificates.
//!
//! ```text
//! account-acme-v02.api.letsencrypt.org-6d0c3a51.json    an account, by directory and address
//! a.example-0f31c2b8.pem                                key and chain, by directory and names
//! lock                                                  held by the process that asks
//! ```
//! Keys are in all of them, so nobody else may read them. A file is written beside its place and then moved there:
//! whoever reads finds the old one or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use sha2::{Digest, Sha256};

use super::Settings;
use crate::cause::AcmeError;

/// Where a certificate and the account that it is asked for with are kept.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    pub(super) account: PathBuf,
    pub(super) certificate: PathBuf,
}

impl Folder {
    pub(super) fn of(settings: &Settings) -> Self {
        let path = settings.folder.clone();
        let directory = settings.directory.as_str();
        let url = directory.split("://").last().unwrap_or_default();
        let host: String = url
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
            .collect();
        let email = settings.email.as_deref().unwrap_or_default();
        let account = format!("account-{host}-{}.json", hash(&[directory, email]));
        let mut named = vec![directory];
        named.extend(settings.domains.iter().map(String::as_str));
        let first = settings.domains.first().map_or("", String::as_str);
        let certificate = format!("{first}-{}.pem", hash(&named));
        Self {
            account: path.join(account),
            certificate: path.join(certificate),
            path,
        }
    }

    /// Whether `path` is a folder that can be written to, or could be made.
    ///
    /// # Errors
    ///
    /// What is in its way, for people.
    pub fn check(path: &Path) -> Result<(), String> {
        let shown = path.display();
        let there = path.ancestors().find(|above| {
            // `.` of a path that begins with no folder.
            above.as_os_str().is_empty() || above.symlink_metadata().is_ok()
        });
        let there = match there {
            Some(there) if !there.as_os_str().is_empty() => there,
            _ => Path::new("."),
        };
        let meta = fs::metadata(there);
        if !meta.is_ok_and(|meta| meta.is_dir()) {
            let found = there.display();
            return Err(format!("{shown} cannot be a folder, {found} is none"));
        }
        let flags = AccessFlags::W_OK | AccessFlags::X_OK;
        access(there, flags).map_err(|e| {
            let what = match there == path {
                true => "written to",
                false => "made",
            };
            format!(
                "the folder {shown} cannot be {what}: {}",
                e.desc().to_lowercase()
            )
        })
    }

    /// Makes it, and keeps other processes out until what comes back is dropped; `None` while another one does.
    ///
    /// # Errors
    ///
    /// When it cannot be made or written to.
    pub(super) fn enter(&self) -> Result<Option<File>, AcmeError> {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&self.path);
        made.map_err(|e| failed(&self.path, e))?;
        let path = self.path.join("lock");
        let opened = private().create(true).truncate(false).open(&path);
        let file = opened.map_err(|e| failed(&path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(failed(&path, e)),
        }
    }

    /// The text of one of its files; `None` when it is not there.
    pub(super) fn read(file: &Path) -> Result<Option<String>, AcmeError> {
        match fs::read_to_string(file) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed(file, e)),
        }
    }

    /// Puts `text` in the place of one of its files, for good.
    pub(super) fn write(file: &Path, text: &str) -> Result<(), AcmeError> {
        let beside = file.with_extension("new");
        let write = || {
            let _ = fs::remove_file(&beside);
            let mut new = private().create_new(true).open(&beside)?;
            new.write_all(text.as_bytes())?;
            new.sync_all()?;
            fs::rename(&beside, file)
        };
        write().map_err(|e| {
            let _ = fs::remove_file(&beside);
            failed(file, e)
        })
    }

    /// The files of certificates, this one's left out.
    pub(super) fn others(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let files = files.map(|file| file.path());
        files
            .filter(|file| file.extension().is_some_and(|kind| kind == "pem"))
            .filter(|file| *file != self.certificate)
            .collect()
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn failed(path: &Path, source: io::Error) -> AcmeError {
    AcmeError::Folder {
        path: path.to_owned(),
        source,
    }
}

/// What tells files of one name apart.
fn hash(parts: &[&str]) -> String {
    let digest = Sha256::digest(parts.join("\n"));
    digest[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::transport::tls::Authorities;
    use crate::transport::tls::acme::LETS_ENCRYPT;

    fn settings(folder: &Path) -> Settings {
        Settings {
            domains: vec!["a.example".to_owned(), "b.example".to_owned()],
            email: None,
            directory: LETS_ENCRYPT.to_owned(),
            folder: folder.to_owned(),
            authorities: Authorities::default(),
            http_port: 80,
        }
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn nobody_else_reads_what_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/acme");
        assert_eq!(Folder::check(&path), Ok(()));
        let folder = Folder::of(&settings(&path));
        let held = folder.enter().unwrap();
        assert!(held.is_some());
        // Another one of this process waits as well.
        assert!(folder.enter().unwrap().is_none());
        Folder::write(&folder.certificate, "old").unwrap();
        Folder::write(&folder.certificate, "new").unwrap();
        let read = Folder::read(&folder.certificate).unwrap();
        assert_eq!(read.as_deref(), Some("new"));
        assert_eq!([mode(&path), mode(&folder.certificate)], [0o700, 0o600]);
        assert_eq!(mode(&path.join("lock")), 0o600);
        let names: Vec<_> = fs::read_dir(&path).unwrap().flatten().collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn a_file_belongs_to_its_names_its_authority_and_its_address() {
        let here = Path::new("/x");
        let one = Folder::of(&settings(here));
        let name = one.certificate.to_string_lossy().into_owned();
        assert!(
            name.starts_with("/x/a.example-") && name.ends_with(".pem"),
            "{name}"
        );
        let mut other = settings(here);
        other.domains.pop();
        assert_ne!(one.certificate, Folder::of(&other).certificate);
        assert_eq!(one.account, Folder::of(&other).account);
        other.email = Some("me@a.example".to_owned());
        assert_ne!(one.account, Folder::of(&other).account);
        // Nothing of a URL leads out of the folder.
        other.directory = "https://../../../etc/".to_owned();
        assert_eq!(Folder::of(&other).account.parent(), Some(here));
    }

    #[test]
    fn what_cannot_be_a_folder_is_told_before_anything_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let told = Folder::check(&file.join("acme")).unwrap_err();
        assert!(told.contains("cannot be a folder"), "{told}");
        let made = dir.path().join("a/b");
        assert_eq!(Folder::check(&made), Ok(()));
        assert!(!made.exists());
    }
}
