//! The ELF facts that cargo does not set: soname and version nodes of libdmapi.so.
//! The nodes are bound to the functions by `dm_version!` in src/ffi.

fn main() {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let major =
        std::env::var("CARGO_PKG_VERSION_MAJOR").expect("cargo sets CARGO_PKG_VERSION_MAJOR");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libdmapi.so.{major}");
    println!("cargo::rustc-cdylib-link-arg=-Wl,--version-script={root}/abi/dmapi.map");
    // Another linker silently drops the version nodes.
    println!("cargo::rustc-cdylib-link-arg=-fuse-ld=lld");
    println!("cargo::rerun-if-changed=abi/dmapi.map");
    println!("cargo::rerun-if-changed=build.rs");
}
