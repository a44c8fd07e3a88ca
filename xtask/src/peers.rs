//! What whole-system tests need from outside: Debian's redis-server, and Python and Node client libraries.
//!
//! Clients go under the target folder (`py/`, `node/`) at the versions that `tests/clients/` pins. An install
//! that is there and of the pinned versions is left alone, so a second run needs no network.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{on_path, root, run, target_dir};

/// Installs everything that is missing.
///
/// # Errors
/// Names the thing that cannot be installed and how a person would install it.
pub(crate) fn install() -> Result<()> {
    for (program, package) in [("redis-server", "redis-server"), ("redis-cli", "redis-tools"), ("curl", "curl")] {
        debian(program, package)?;
    }
    python().context("the Python clients (tests/clients/requirements.txt)")?;
    node().context("the Node clients (tests/clients/package.json)")
}

/// Makes sure `program` is on PATH, by Debian's `package` when we may.
fn debian(program: &str, package: &str) -> Result<()> {
    if let Some(path) = on_path(program) {
        eprintln!("{program}: {}", path.display());
        return Ok(());
    }
    let hint = format!("`{program}` is missing: install it (on Debian or Ubuntu: apt-get install {package})");
    if on_path("apt-get").is_none() || !am_root() {
        bail!("{hint}, then run this again");
    }
    apt(&["update"]).with_context(|| hint.clone())?;
    // Only the program is wanted: a policy of 101 keeps the package from starting a server of its own.
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let ours = !policy.exists();
    if ours {
        write_executable(policy, "#!/bin/sh\nexit 101\n")?;
    }
    let installed = apt(&["install", "-y", "--no-install-recommends", package]);
    if ours {
        fs::remove_file(policy).context("removing our /usr/sbin/policy-rc.d")?;
    }
    installed.with_context(|| hint.clone())?;
    if on_path(program).is_none() {
        bail!("{hint}; apt-get installed {package} and it brought no {program}");
    }
    Ok(())
}

fn apt(arguments: &[&str]) -> Result<()> {
    run(Command::new("apt-get").arg("-qq").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn am_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0")
}

fn write_executable(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Runs `install` unless `stamp` already holds `wanted`; writes the stamp last, so a broken install is redone.
fn once(stamp: &Path, wanted: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    if fs::read_to_string(stamp).is_ok_and(|have| have == wanted) {
        eprintln!("{}: as pinned", stamp.parent().unwrap_or(stamp).display());
        return Ok(());
    }
    install()?;
    fs::write(stamp, wanted).with_context(|| format!("writing {}", stamp.display()))
}

fn python() -> Result<()> {
    let venv = target_dir().join("py");
    let file = root().join("tests/clients/requirements.txt");
    let wanted = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    once(&venv.join("installed"), &wanted, || {
        debian("python3", "python3")?;
        let make = || run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        if make().is_err() {
            // Debian's python3 leaves the venv module's pip to a package of its own.
            debian_venv()?;
            make()?;
        }
        run(Command::new(venv.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(&file))
    })
}

fn debian_venv() -> Result<()> {
    if on_path("apt-get").is_none() || !am_root() {
        bail!(
            "python3 cannot make a virtual environment: install it (on Debian or Ubuntu: apt-get install python3-venv)"
        );
    }
    apt(&["update"])?;
    apt(&["install", "-y", "--no-install-recommends", "python3-venv"])
}

fn node() -> Result<()> {
    let dir = target_dir().join("node");
    let clients = root().join("tests/clients");
    let lock = fs::read_to_string(clients.join("package-lock.json")).context("reading package-lock.json")?;
    once(&dir.join("installed"), &lock, || {
        debian("node", "nodejs")?;
        debian("npm", "npm")?;
        fs::create_dir_all(&dir)?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(clients.join(name), dir.join(name)).with_context(|| format!("copying {name}"))?;
        }
        run(Command::new("npm").current_dir(&dir).args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_install_as_pinned_is_not_repeated_and_a_broken_one_is() {
        let dir = target_dir().join("xtask-once-test");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let stamp = dir.join("installed");
        let mut runs = 0;
        assert!(once(&stamp, "a==1", || bail!("no network")).is_err());
        once(&stamp, "a==1", || {
            runs += 1;
            Ok(())
        })
        .unwrap();
        once(&stamp, "a==1", || {
            runs += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(runs, 1);
        once(&stamp, "a==2", || {
            runs += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(runs, 2);
        fs::remove_dir_all(&dir).unwrap();
    }
}
