use std::process::ExitCode;

fn main() -> ExitCode {
    mobula::cli::main(std::env::args_os())
}
