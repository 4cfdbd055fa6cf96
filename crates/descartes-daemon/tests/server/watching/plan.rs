//! What happens in a run: everything that chance decides, drawn from one seed before anything starts.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// The last part of a pause of a writer is two digits of its number.
const PAUSES: u64 = 40;

/// Lines that a writer writes without a pause, at most.
const BURST_MAX: u64 = 20;

/// Of so many replies one is lost.
const REPLIES_OF_WHICH_ONE_IS_LOST: u64 = 20;

/// Numbers that only look random (`SplitMix64`, Steele, Lea and Flood 2014).
pub(crate) struct Random(u64);

/// All that is decided before a run.
pub(crate) struct Plan {
    seed: u64,
    pub(crate) writers: Vec<Writer>,
    pub(crate) steps: Vec<Step>,
    /// Which of the writers go on to the end.
    pub(crate) lasting: Vec<usize>,
}

/// An agent that writes numbered lines to both streams until its gate is removed.
pub(crate) struct Writer {
    number: usize,
    /// What its first number is made from; each number is made from the one before.
    start: u64,
    pub(crate) exit_code: i32,
}

/// What comes before each cut, and how the connections are cut.
pub(crate) struct Step {
    /// The exit code of an agent that starts and ends by itself meanwhile.
    pub(crate) visitor_code: i32,
    /// Whether the agent that is followed alone is paused and goes on.
    pub(crate) has_pause: bool,
    /// Writers that come to their end: where the server is killed, while there is none.
    pub(crate) ends: Vec<usize>,
    pub(crate) is_kill: bool,
    pub(crate) trouble: Trouble,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trouble {
    /// It is cut.
    Cut,
    /// Its bytes are late by this, and then it is cut.
    Delay(Duration),
    /// Its bytes are thrown away for so long, and then it is cut.
    Hole(Duration),
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("it is below a usize")
    }

    fn exit_code(&mut self) -> i32 {
        i32::try_from(self.below(100)).expect("it is below 100")
    }

    fn milliseconds(&mut self) -> Duration {
        Duration::from_millis(1 + self.below(50))
    }

    fn trouble(&mut self) -> Trouble {
        match self.below(4) {
            0 => Trouble::Delay(self.milliseconds()),
            1 => Trouble::Hole(self.milliseconds()),
            _ => Trouble::Cut,
        }
    }
}

impl Plan {
    /// The first writer and half of the others last to the end; the rest ends at a step each, one at each kill at least.
    pub(crate) fn draw(seed: u64, writers: usize, cuts: usize, kills: usize) -> Self {
        let mut random = Random::new(seed);
        let writers: Vec<Writer> = (0..writers)
            .map(|number| Writer {
                number,
                start: random.below(1 << 31),
                exit_code: random.exit_code(),
            })
            .collect();
        let mut steps: Vec<Step> = (0..cuts)
            .map(|_| Step {
                visitor_code: random.exit_code(),
                has_pause: random.below(5) == 0,
                ends: Vec::new(),
                is_kill: false,
                trouble: random.trouble(),
            })
            .collect();
        let mut kill_steps = Vec::new();
        while kill_steps.len() < kills {
            let step = random.index(cuts);
            if !kill_steps.contains(&step) {
                steps[step].is_kill = true;
                kill_steps.push(step);
            }
        }
        let mut lasting = vec![0];
        let mut due_at_kills = kill_steps.into_iter();
        for writer in 1..writers.len() {
            if let Some(step) = due_at_kills.next() {
                steps[step].ends.push(writer);
            } else if random.below(2) == 0 {
                steps[random.index(cuts)].ends.push(writer);
            } else {
                lasting.push(writer);
            }
        }
        Self {
            seed,
            writers,
            steps,
            lasting,
        }
    }

    /// Says which replies are lost, by their numbers.
    pub(crate) fn losses(&self) -> impl Fn(u64) -> bool + Send + use<> {
        let seed = self.seed;
        move |number| {
            Random::new(seed.wrapping_add(number)).below(REPLIES_OF_WHICH_ONE_IS_LOST) == 0
        }
    }
}

impl Writer {
    /// The script. When the gate is gone it writes down how many lines it has written, and ends.
    pub(crate) fn script(&self, gate: &Path, count: &Path) -> String {
        let Self {
            number,
            start,
            exit_code,
        } = self;
        let (gate, count) = (gate.display(), count.display());
        format!(
            "n=0 x={start}
            while [ -e {gate} ]; do
                burst=$((x / 65536 % {BURST_MAX} + 1))
                while [ $burst -gt 0 ]; do
                    burst=$((burst - 1)) n=$((n + 1)) x=$(((x * 1103515245 + 12345) % 2147483648))
                    echo {number} $n $x
                done
                echo {number} $n >&2
                sleep 0.$((x / 65536 % {PAUSES} + 10))
            done
            echo $n >{count}
            exit {exit_code}"
        )
    }

    /// What a writer of so many lines has written to stdout and to stderr.
    pub(crate) fn written(&self, lines: u64) -> (String, String) {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let (mut line, mut x) = (0, self.start);
        while line < lines {
            for _ in 0..=(x / 65536 % BURST_MAX) {
                line += 1;
                x = (x * 1_103_515_245 + 12345) % (1 << 31);
                let _ = writeln!(stdout, "{} {line} {x}", self.number);
            }
            let _ = writeln!(stderr, "{} {line}", self.number);
        }
        (stdout, stderr)
    }
}
