// What the fuzzing commands for TypeScript have in common: properties of fast-check that hold, or not, for as long as there is time.
//
//   --minutes N   in all (1 unless given)
//   --seed S      of what is drawn; printed, so that a run can be repeated
import { parseArgs } from 'node:util';
import fc from 'fast-check';

/** What is tried with one input, and throws if it does not hold. */
export interface Target<T> {
  readonly name: string;
  readonly inputs: fc.Arbitrary<T>;
  readonly attempt: (input: T) => void;
}

/** Gives each target its share of the time, and ends the process: with 1 if anything was found. */
export function fuzz<T>(targets: readonly Target<T>[]): never {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '1' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    },
  });
  const minutes = Number(values.minutes);
  const seed = Number(values.seed);
  if (!(minutes > 0) || !Number.isSafeInteger(seed)) {
    console.error('Usage: -- [--minutes N] [--seed S]; N more than 0.');
    process.exit(2);
  }
  let status = 0;
  for (const { name, inputs, attempt } of targets) {
    let runs = 0;
    const property = fc.property(inputs, (input) => {
      runs++;
      attempt(input);
    });
    const interruptAfterTimeLimit = (minutes * 60_000) / targets.length;
    const result = fc.check(property, { numRuns: 2 ** 31 - 1, seed, interruptAfterTimeLimit });
    const failed = result.failed && result.counterexample !== null;
    console.log(`${name}: ${runs} inputs, seed ${seed}: ${failed ? 'FOUND' : 'nothing found'}`);
    if (failed) {
      console.error(fc.defaultReportMessage(result));
      status = 1;
    }
  }
  process.exit(status);
}
