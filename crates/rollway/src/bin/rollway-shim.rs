//! `rollway shim` as a program of its own. It is a fraction of the size, so that a start takes less
//! and each instance's shim keeps less memory. Where it is not there, `rollway shim` does the same.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).filter(|argument| argument != "shim");
    let first = arguments.next().unwrap_or_default();
    let code = rollway::driver::process::shim::shim_main(Path::new(&first));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
