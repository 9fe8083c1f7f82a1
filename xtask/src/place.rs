//! Where things are: the repository, cargo's target directory, and the project's cache.

use anyhow::{Context as _, Result};
use std::env;
use std::fs;
use std::hash::Hasher as _;
use std::path::{Path, PathBuf};

/// The root of the clone.
///
/// It is looked for upwards from the working directory, because the path compiled into the program is that of another
/// clone when two of them share a target directory.
pub(crate) fn root() -> Result<PathBuf> {
    let here = env::current_dir().context("no working directory")?;
    here.ancestors()
        .find(|dir| dir.join("xtask/Cargo.toml").is_file())
        .map(Path::to_path_buf)
        .context("run this inside a clone of Tidegate")
}

/// Cargo's target directory, as an absolute path.
pub(crate) fn target() -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => std::path::absolute(dir).context("CARGO_TARGET_DIR"),
        None => Ok(root()?.join("target")),
    }
}

/// The project's cache: tools, npm packages and the Python environment, shared by all clones of this user.
pub(crate) fn cache() -> Result<PathBuf> {
    let var = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = var("TIDEGATE_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("tidegate")))
        .or_else(|| var("HOME").map(|dir| dir.join(".cache/tidegate")))
        .context("set TIDEGATE_CACHE or HOME: there is no place for tools")?;
    std::path::absolute(dir).context("the cache directory")
}

/// Names a set of files by what is in them. The hash is FNV-1a: equal on every machine and Rust version, and nobody
/// has an interest in colliding it.
pub(crate) fn hash_of(files: &[PathBuf]) -> Result<String> {
    let mut hash = Fnv::default();
    for file in files {
        hash.write(&fs::read(file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(format!("{:016x}", hash.finish()))
}

/// FNV-1a, 64 bits.
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl std::hash::Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_gives_its_published_values() {
        let hash = |text: &str| {
            let mut hash = Fnv::default();
            hash.write(text.as_bytes());
            hash.finish()
        };
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
    }
}
