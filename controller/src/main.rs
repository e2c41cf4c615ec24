//! The binary `genkan`. Everything is in the library; here is only what a process needs once: its allocator.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    genkan_controller::cli::main()
}
