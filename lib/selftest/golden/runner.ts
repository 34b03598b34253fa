// Runs one scenario on one device, and collects what differs from the recording.
import { instructionMatches, matches, show, type Value } from './compare.js';
import { operations, type Outcome } from './operations.js';
import type { Session } from './session.js';
import type { Difference, Expectation, Expected, ExpectedFields, Step } from './types.js';
import type { Report } from './comm.js';

const exitStateFields = ['rflags', 'cr8', 'int_shadow', 'int_window_exiting', 'nmi_window_exiting', 'evt_pending'];

function checkExit(expected: ExpectedFields, actual: Record<string, Value>, report: Report): void {
  for (const [name, value] of Object.entries(expected)) {
    if (name === 'inst') {
      const { inst_len: length, inst_bytes: bytes } = actual as { inst_len?: bigint; inst_bytes?: string };
      if (length === undefined || bytes === undefined) report('exit.inst', value, undefined);
      else if (!instructionMatches(value, length, bytes))
        report('exit.inst', value, bytes.slice(0, 2 * Number(length)));
    } else if (!matches(value, actual[name])) {
      report(`exit.${name}`, value, actual[name]);
    }
  }
}

function checkExitState(expected: ExpectedFields, actual: Record<string, Value>, report: Report): void {
  for (const name of new Set([...exitStateFields, ...Object.keys(expected)])) {
    const value = expected[name] ?? 0;
    if (!matches(value, actual[name])) report(`exitstate.${name}`, value, actual[name]);
  }
}

const fields = (outcome: Outcome, name: string) => (outcome[name] ?? {}) as Record<string, Value>;

function check(session: Session, step: Step, outcome: Outcome, report: Report): void {
  const expect: Expectation = step.expect ?? {};
  const { comm, changed, regs, exit, exitstate, ...others } = expect;
  for (const [name, expected] of Object.entries(others)) {
    const actual = outcome[name] as Value | undefined;
    if (!matches(expected as Expected, actual)) report(name, expected as Expected, actual);
  }
  if (typeof exit === 'object') checkExit(exit, fields(outcome, 'exit'), report);
  if (typeof exitstate === 'object') checkExitState(exitstate, fields(outcome, 'exitstate'), report);
  if (comm === undefined && changed === undefined && regs === undefined) return;
  const page = session.page(step);
  if (page) page.check(expect, report);
  else report('comm', 'a comm page', undefined);
}

/** Carries a step out, and compares. Throws where that cannot be done. */
function carryOut(session: Session, step: Step, report: Report): void {
  if (step.op === 'fork') {
    session.inChild((child) => {
      for (const [i, inner] of (step.steps ?? []).entries()) {
        carryOut(child, inner, (field, expected, got) => {
          report(`step ${i + 1} (${inner.op}): ${field}`, expected, got);
        });
      }
    });
    return;
  }
  const operation = Object.hasOwn(operations, step.op) ? operations[step.op] : undefined;
  if (!operation) throw new Error(`the operation ${step.op} is not known`);
  check(session, step, operation(session, step), report);
}

/** Carries the steps of a fixture and of a scenario out. Ends the session. */
export function runSteps(session: Session, fixture: Step[], steps: Step[]): Difference[] {
  const differences: Difference[] = [];
  try {
    for (const [i, step] of [...fixture, ...steps].entries()) {
      const inFixture = i < fixture.length;
      const report: Report = (field, expected, got) =>
        differences.push({
          step: inFixture ? i + 1 : i - fixture.length + 1,
          inFixture,
          op: step.op,
          field,
          expected: show(expected),
          got: show(got),
        });
      try {
        carryOut(session, step, report);
      } catch (error) {
        // The steps after it have lost their ground.
        report('step', 'to be carried out', (error as Error).message);
        break;
      }
    }
  } finally {
    session.end();
  }
  return differences;
}
