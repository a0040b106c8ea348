//! `rollway-fuzz`: runs fuzz targets, or tries single inputs.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rollway_fuzz::judge::{judge, judge_memory};
use rollway_fuzz::run::run;
use rollway_fuzz::{ALL, Marks, Target, corpus, target};

const USAGE: &str = "\
usage: rollway-fuzz [--seconds N] [--seed N] [--home FOLDER] [--keep-last] [TARGET...]
       rollway-fuzz --try TARGET FILE...
       rollway-fuzz --list

  --seconds N   how long each target runs (60)
  --seed N      the seed; by default the time
  --home FOLDER where `corpus` is and `failures` will be
  --keep-last   write each input to failures/TARGET/last before it is tried: for what ends the
                process (a stack that overflows). The same seed reaches the same input
  --try         try these files and say what is wrong with them
";

/// An input that does not come back is given up after this, and the process with it.
const HANG: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Args {
    seconds: Option<u64>,
    seed: Option<u64>,
    home: Option<PathBuf>,
    keep_last: bool,
    is_try: bool,
    is_list: bool,
    rest: Vec<String>,
}

fn main() -> ExitCode {
    let done = args(std::env::args().skip(1)).and_then(|args| match (args.is_list, args.is_try) {
        (true, _) => Ok(list()),
        (false, true) => try_files(&args),
        (false, false) => fuzz(&args),
    });
    done.unwrap_or_else(|what| {
        let _ = write!(std::io::stderr(), "error: {what}\n\n{USAGE}");
        ExitCode::from(2)
    })
}

fn args(mut given: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut args = Args::default();
    while let Some(arg) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{arg} needs a value"));
        let number = |text: String| text.parse().map_err(|_| format!("{text:?} is no number"));
        match arg.as_str() {
            "--seconds" => args.seconds = Some(number(value()?)?),
            "--seed" => args.seed = Some(number(value()?)?),
            "--home" => args.home = Some(value()?.into()),
            "--keep-last" => args.keep_last = true,
            "--try" => args.is_try = true,
            "--list" => args.is_list = true,
            other if other.starts_with('-') => return Err(format!("unknown option {other}")),
            _ => args.rest.push(arg),
        }
    }
    Ok(args)
}

fn find(name: &str) -> Result<&'static Target, String> {
    let names: Vec<&str> = ALL.iter().map(|target| target.name).collect();
    target(name).ok_or_else(|| rollway_core::problem::unknown("target", name, &names))
}

fn list() -> ExitCode {
    for target in ALL {
        say(&format!("{:<12} {}", target.name, target.about));
    }
    ExitCode::SUCCESS
}

fn try_files(args: &Args) -> Result<ExitCode, String> {
    let [name, files @ ..] = args.rest.as_slice() else {
        return Err("--try needs a target".to_owned());
    };
    let target = find(name)?;
    let mut code = ExitCode::SUCCESS;
    for file in files {
        let input =
            std::fs::read(file).map_err(|error| format!("could not read {file}: {error}"))?;
        let judged = judge(target, &input, &mut Marks::default());
        match judged.and_then(|()| judge_memory(target, &input)) {
            Ok(()) => say(&format!("{file}: holds")),
            Err(what) => {
                say(&format!("{file}: {what}"));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn fuzz(args: &Args) -> Result<ExitCode, String> {
    let home = args.home.clone().unwrap_or_else(corpus::home);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = args.seed.unwrap_or_else(|| now.unwrap_or_default().as_secs());
    let time = Duration::from_secs(args.seconds.unwrap_or(60));
    let named: Result<Vec<_>, _> = args.rest.iter().map(|name| find(name)).collect();
    let targets = if args.rest.is_empty() { ALL.to_vec() } else { named? };
    let mut code = ExitCode::SUCCESS;
    let (mut execs, mut failing) = (0, 0);
    for target in targets {
        let seeds = corpus::read(&home, target).map_err(|error| error.to_string())?;
        let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|(_, input)| input).collect();
        let under_way = Arc::new(Mutex::new((Instant::now(), Vec::new())));
        watch(target, home.clone(), Arc::downgrade(&under_way));
        let last = home.join("failures").join(target.name).join("last");
        if args.keep_last {
            let folder = last.parent().expect("it has one");
            std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        let account = run(target, &seeds, (seed, time), |input| {
            if let Ok(mut now) = under_way.lock() {
                *now = (Instant::now(), input.to_vec());
            }
            if args.keep_last {
                let _ = std::fs::write(&last, input);
            }
        });
        say(&account.to_string());
        execs += account.execs;
        for one in &account.failing {
            let path = corpus::keep_failure(&home, target, &one.input);
            let path = path.map_err(|error| error.to_string())?;
            say(&format!("  {}: {}", path.display(), one.what));
            failing += 1;
            code = ExitCode::FAILURE;
        }
    }
    say(&format!("fuzz: {execs} execs in all, {failing} failing, seed {seed}"));
    Ok(code)
}

/// Ends the process when an input does not come back, and keeps that input.
fn watch(
    target: &'static Target,
    home: PathBuf,
    under_way: std::sync::Weak<Mutex<(Instant, Vec<u8>)>>,
) {
    std::thread::spawn(move || {
        while let Some(now) = under_way.upgrade() {
            if let Ok(now) = now.lock()
                && now.0.elapsed() > HANG
            {
                let kept = corpus::keep_failure(&home, target, &now.1);
                let path = kept.map(|path| path.display().to_string()).unwrap_or_default();
                say(&format!("fuzz {}: {path}: does not come back", target.name));
                std::process::abort();
            }
            drop(now);
            std::thread::sleep(Duration::from_secs(1));
        }
    });
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
