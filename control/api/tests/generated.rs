//! The generated code is what the .proto file says. `PALISADE_REGENERATE=1 cargo test -p palisade-api --test
//! generated` writes it anew.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

const PROTO: &str = "palisade/v1/palisade.proto";

#[test]
fn the_generated_code_is_what_the_proto_file_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile([PROTO], [root.join("proto")]).expect("the .proto file compiles");
    for (committed, generated) in [
        ("src/wire.rs", messages(&files)),
        ("../src/grpc.rs", services(&files, Side::Server)),
        ("../../proxy/src/grpc.rs", services(&files, Side::Client)),
    ] {
        let committed = root.join(committed);
        if std::env::var_os("PALISADE_REGENERATE").is_some() {
            std::fs::write(&committed, &generated).expect("the generated file can be written");
        }
        let found = std::fs::read_to_string(&committed).unwrap_or_default();
        assert!(
            found == generated,
            "{} is not what {PROTO} says; run PALISADE_REGENERATE=1 cargo test -p palisade-api --test generated",
            committed.display()
        );
    }
}

const LINTS: &str = "#![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::allow_attributes, clippy::allow_attributes_without_reason, clippy::or_fun_call, clippy::too_many_lines, clippy::use_self, clippy::wildcard_enum_match_arm, reason = \"generated\")]\n";

enum Side {
    Client,
    Server,
}

/// Messages only: they need no runtime.
fn messages(files: &prost_types::FileDescriptorSet) -> String {
    let mut files = files.clone();
    for file in &mut files.file {
        file.service.clear();
    }
    let builder = tonic_prost_build::configure().btree_map(".");
    compile(
        builder.build_client(false).build_server(false),
        files,
        "Messages between proxy and control.",
    )
}

/// One side's half of the services; the messages stay in the contract's crate.
fn services(files: &prost_types::FileDescriptorSet, side: Side) -> String {
    let builder = tonic_prost_build::configure()
        .build_transport(false)
        .extern_path(".palisade.v1", "::palisade_api::wire");
    let builder = match side {
        Side::Client => builder.build_client(true).build_server(false),
        Side::Server => builder.build_client(false).build_server(true),
    };
    compile(
        builder,
        files.clone(),
        "The services that control serves to proxies.",
    )
}

fn compile(
    builder: tonic_prost_build::Builder,
    files: prost_types::FileDescriptorSet,
    doc: &str,
) -> String {
    let out = tempfile();
    builder
        .out_dir(&out)
        .compile_fds(files)
        .expect("the code can be generated");
    let code = std::fs::read_to_string(out.join("palisade.v1.rs")).expect("one file was generated");
    std::fs::remove_dir_all(&out).expect("the folder can be removed");
    format!("//! {doc}\n\n{LINTS}\n{code}")
}

fn tempfile() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let out =
        std::env::temp_dir().join(format!("palisade-generated-{}-{count}", std::process::id()));
    std::fs::create_dir_all(&out).expect("a folder can be made");
    out
}
