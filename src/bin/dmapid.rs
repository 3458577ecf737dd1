//! The node's daemon. Arguments, then one call.

fn main() -> std::process::ExitCode {
    dmapi::daemon::main()
}
