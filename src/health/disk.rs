//! The room on the disk of a directory.

use std::path::Path;

/// What is free and what there is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Free for us.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// The room on the disk that holds the directory, or its nearest ancestor that exists; `None` when it cannot be read.
pub fn room(dir: &Path) -> Option<Room> {
    let there = dir.ancestors().find(|d| d.exists()).filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let stat = rustix::fs::statvfs(there).ok()?;
    Some(Room { free: stat.f_bavail.saturating_mul(stat.f_frsize), total: stat.f_blocks.saturating_mul(stat.f_frsize) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_yet_has_the_room_of_its_ancestor() {
        let there = room(Path::new("/")).unwrap_or(Room { free: 0, total: 0 });
        assert!(there.total > 0);
        assert!(room(Path::new("/no/such/directory")).is_some_and(|r| r.total == there.total));
        assert!(room(Path::new("relative/to/nothing")).is_some());
    }
}
