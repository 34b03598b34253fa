// What is compared otherwise on the Intel backend: the rules of scenarios/README.md for every scenario there, whether
// recorded on it or shared with AMD.
import type { Expectation, ExpectedFields, Scenario, Step } from './types.js';

const isFields = (fields: '*' | ExpectedFields | undefined): fields is ExpectedFields => typeof fields === 'object';

function expectationOnIntel(expect: Expectation, prefill: number): Expectation {
  const { exit } = expect;
  if (!isFields(exit)) return expect;
  const adapted: Expectation = { ...expect };
  if (exit['reason'] === 'IO' && Number(exit['str']) === 0) {
    adapted.exit = { ...exit, seg: '*', address_size: '*' };
    const raw = expect['raw'];
    if (typeof raw === 'string') adapted['raw'] = `${raw.slice(0, 24)}????${raw.slice(28)}`;
  }
  if (exit['reason'] === 'MEMORY') {
    const untouched = (prefill & 0xff).toString(16).padStart(2, '0').repeat(15);
    adapted.exit = { ...exit, inst: '*', inst_len: 0, inst_bytes: untouched };
  }
  if (exit['reason'] === 'SHUTDOWN' && isFields(expect.exitstate)) {
    adapted.exitstate = { ...expect.exitstate, rflags: '*' };
  }
  return adapted;
}

function stepOnIntel(step: Step): Step {
  return {
    ...step,
    ...(step.expect && { expect: expectationOnIntel(step.expect, Number(step.prefill ?? 0)) }),
    ...(step.steps && { steps: step.steps.map(stepOnIntel) }),
  };
}

/** Recorded on a CPU whose highest basic CPUID leaf is D; with another one, that leaf is answered instead. */
const dependsOnHighestLeaf = (group: string, { name }: Scenario) =>
  group === 'exit-cpuid' && name.includes('out-of-range');

export function onIntel(group: string, scenario: Scenario, cpu: string | undefined): Scenario {
  const needed =
    scenario.cpu ?? cpu ?? (dependsOnHighestLeaf(group, scenario) ? 'has the highest basic leaf D' : undefined);
  return { ...scenario, ...(needed !== undefined && { cpu: needed }), steps: scenario.steps.map(stepOnIntel) };
}
