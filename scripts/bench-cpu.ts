// npm run bench:cpu: the software CPU beside other x86 emulators, as far as they are installed. All run the same ROM, must come
// to the same results, and take turns; the processor time between the lines that the guest writes is measured (elapsed time
// where the host does not tell it), and medians are compared.
//
//   --rounds N     turns of each machine (5 unless given)
//   --peer NAME    only this peer, as "Bochs"; may be repeated
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { median, report, rounds, timeOf, type Row } from './bench.js';
import { findPeers, mock, type Machine } from './bench-cpu/machines.js';
import { makeRom, PROGRAMS, type Mode } from './bench-cpu/rom.js';
import { numberOf, readOptions } from './options.js';

const options = readOptions({
  options: {
    rounds: { type: 'string', default: String(rounds(5)) },
    peer: { type: 'string', multiple: true },
    json: { type: 'boolean' },
    quick: { type: 'boolean' },
  },
});
const turns = numberOf('rounds', options.rounds, { least: 1 });

/** How long a program shall take, in seconds. */
const LONG_ENOUGH = 0.15;
/** After how long a machine is given up, in milliseconds. */
const HANGS = 600_000;
/** How often a machine is run for one measurement at most. */
const ATTEMPTS = 5;

/** Of each program: seconds, result, and of the mock the guest's instructions. */
interface Measured {
  readonly seconds: number;
  readonly result: string;
  readonly instructions: number;
}

/** Runs the ROM; again where this process came too late to see the other's time, but not for ever. */
async function run(machine: Machine, mode: Mode, rounds: readonly number[]): Promise<Measured[]> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const measured = await runOnce(machine, mode, rounds);
    if (measured.every(({ seconds }) => seconds >= 0)) return measured;
  }
  throw new Error(
    `${machine.name} ended ${ATTEMPTS} times before its time could be read: this host is too busy. Try later.`,
  );
}

async function runOnce(machine: Machine, mode: Mode, rounds: readonly number[]): Promise<Measured[]> {
  const folder = mkdtempSync(join(tmpdir(), 'nvmm-bench-'));
  try {
    const rom = join(folder, 'rom.bin');
    writeFileSync(rom, makeRom(mode, rounds));
    const [command = '', ...args] = machine.command(rom, folder);
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'], timeout: HANGS });
    const lines: Measured[] = [];
    let [time, instructions] = [0, 0];
    for await (const line of createInterface(child.stdout)) {
      const now = timeOf(child.pid!);
      const [, result, count] = /^(\d:[0-9a-f]{8})(?: (\d+))?$/.exec(line) ?? [];
      if (result === undefined) continue; // Bochs has more to say
      lines.push({ seconds: now - time, result, instructions: Number(count ?? 0) - instructions });
      [time, instructions] = [now, Number(count ?? 0)];
    }
    if (lines.length !== 2 * PROGRAMS.length) {
      const how = child.killed ? ` within ${HANGS / 60_000} minutes` : '';
      throw new Error(`${machine.name} did not run the ${mode}-bit programs to their end${how}.`);
    }
    return lines.filter((_, index) => index % 2 === 1); // what comes first warms up
  } finally {
    rmSync(folder, { recursive: true });
  }
}

interface Contest {
  readonly machine: Machine;
  readonly mode: Mode;
  rounds: number[];
  readonly rates: number[][];
}

/** Finds how many rounds take long enough, by two runs: the second for programs that are over before they can be timed. */
async function calibrate({ machine, mode }: { machine: Machine; mode: Mode }): Promise<Contest> {
  let rounds = PROGRAMS.map(() => 1);
  let fastest = PROGRAMS.map(() => Infinity); // seconds of a round: what disturbs only adds to them
  for (let attempt = 0; attempt < 2; attempt++) {
    const measured = await run(machine, mode, rounds);
    fastest = fastest.map((best, i) => Math.min(best, measured[i]!.seconds / rounds[i]!));
    rounds = rounds.map((count, i) => Math.ceil(Math.min(32 * count, LONG_ENOUGH / fastest[i]!)));
  }
  return { machine, mode, rounds, rates: PROGRAMS.map(() => []) };
}

const peers = findPeers().filter(({ name }) => options.peer?.includes(name) ?? true);
const contests: Contest[] = [];
for (const machine of [mock, ...peers]) {
  for (const mode of machine.modes) contests.push(await calibrate({ machine, mode }));
}
const contestOf = (machine: Machine, mode: Mode): Contest =>
  contests.find((contest) => contest.machine === machine && contest.mode === mode)!;

const results = new Map<string, string>();
/** Instructions of a round, by mode and program: the mock counts them. */
const instructions: Record<Mode, number[]> = { 32: [], 64: [] };

for (let turn = 0; turn < turns; turn++) {
  for (const { machine, mode, rounds, rates } of contests) {
    const measured = await run(machine, mode, rounds);
    measured.forEach(({ seconds, result, instructions: count }, i) => {
      const { name } = PROGRAMS[i]!;
      const expected = results.get(name) ?? result;
      if (result !== expected) throw new Error(`${machine.name}: ${name} results in ${result}, not ${expected}.`);
      results.set(name, result);
      rates[i]!.push(rounds[i]! / seconds);
      if (machine === mock) instructions[mode][i] = count / rounds[i]!;
    });
  }
}

/** Per second, in the unit of the program. */
const rate = ({ mode, rates }: Contest, program: number): number => {
  const { instructions: counts, amount } = PROGRAMS[program]!;
  return (median(rates[program]!) * (counts ? instructions[mode][program]! : amount)) / 1e6;
};
const geometricMean = (contest: Contest): number => {
  const logs = PROGRAMS.flatMap(({ instructions: counts }, i) => (counts ? [Math.log(rate(contest, i))] : []));
  return Math.exp(logs.reduce((sum, each) => sum + each, 0) / logs.length);
};

const rows: Row[] = [];
for (const mode of mock.modes) {
  const add = (name: string, unit: string, value: (contest: Contest) => number): void => {
    const ours = value(contestOf(mock, mode));
    rows.push({ name: `${name}, ${mode}-bit`, value: ours, unit });
    for (const peer of peers) {
      if (!peer.modes.includes(mode)) continue;
      const baseline = value(contestOf(peer, mode));
      rows.push({ name: `  beside ${peer.name}`, value: ours, unit, baseline, ratio: ours / baseline });
    }
  };
  PROGRAMS.forEach(({ name, unit }, i) => {
    add(name, unit, (contest) => rate(contest, i));
  });
  add('geometric mean of the first four', 'MIPS', geometricMean);
}
report(rows, 'peer');
