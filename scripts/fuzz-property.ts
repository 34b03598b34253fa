// What the fuzzing commands for TypeScript have in common: properties of fast-check that hold, or not, for as long as there is time.
//
//   --minutes N   in all (1 unless given)
//   --seed S      of what is drawn; printed, so that a run can be repeated
import fc from 'fast-check';
import { numberOf, readOptions } from './options.js';

/** What is tried with one input, and throws if it does not hold. */
export interface Target<T> {
  readonly name: string;
  readonly inputs: fc.Arbitrary<T>;
  readonly attempt: (input: T) => void;
}

/** Gives each target its share of the time, and ends the process: with 1 if anything was found. */
export function fuzz<T>(targets: readonly Target<T>[]): never {
  const values = readOptions({
    options: {
      minutes: { type: 'string', default: '1' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    },
  });
  const minutes = numberOf('minutes', values.minutes, { fractions: true });
  const seed = numberOf('seed', values.seed);
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
