//! Where the pages' files are: the binary needs only `site/` beside it, never the working directory.

use leptos::config::LeptosOptions;
use std::{net::SocketAddr, path::PathBuf};

/// Options for Leptos. `site/` is looked for beside the binary, then where cargo-leptos puts it.
///
/// # Errors
/// A sentence when it is in neither place.
pub fn find(addr: SocketAddr) -> Result<LeptosOptions, String> {
    let exe = std::env::current_exe().and_then(|e| e.canonicalize()).map_err(|e| format!("the program cannot find itself: {e}."))?;
    let home = exe.parent().map(PathBuf::from).unwrap_or_default();
    let candidates = [home.join("site"), home.join("../site"), home.join("../../site")];
    let site = candidates.iter().find(|dir| dir.join("hash.txt").is_file()).ok_or_else(|| {
        format!(
            "the pages' files are missing: {} must be there, with hash.txt in it. 'make build' makes it as target/site.",
            candidates[0].display()
        )
    })?;
    Ok(LeptosOptions::builder()
        .output_name("assay")
        .site_root(site.to_string_lossy().into_owned())
        .site_pkg_dir("pkg")
        .site_addr(addr)
        .hash_files(true)
        .hash_file(std::sync::Arc::<str>::from(site.join("hash.txt").to_string_lossy()))
        .env(leptos::config::Env::PROD)
        .build())
}
