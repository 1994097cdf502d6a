//! Generates the gRPC code from `proto/` with protox, so that nobody needs protoc.

use std::path::PathBuf;

/// Every file of the package, in the order of their imports.
const PROTOS: [&str; 8] = [
    "bursar/v1/inference.proto",
    "bursar/v1/directory.proto",
    "bursar/v1/budget.proto",
    "bursar/v1/payment.proto",
    "bursar/v1/wallet.proto",
    "bursar/v1/journal.proto",
    "bursar/v1/operator.proto",
    "bursar/v1/facilitator.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(PROTOS)?;

    // Reflection gets the bytes as protox wrote them: a round through prost would lose options.
    let out_dir = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out_dir.join("bursar_descriptor.bin"), compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure()
        .bytes(".bursar.v1")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
