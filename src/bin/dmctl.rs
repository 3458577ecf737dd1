//! The operator's command. Arguments, then one call.

fn main() -> std::process::ExitCode {
    dmapi::ctl::run()
}
