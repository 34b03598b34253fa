// Runs rules and golden scenarios on the mock, and counts by group and driver.
import { mockHost } from '../../lib/selftest/golden/host.js';
import { loadCases, ownScenarios } from '../../lib/selftest/golden/load.js';
import { describeDifference, runCase } from '../../lib/selftest/golden/suite.js';
import { GROUPS } from './groups/index.js';
import { appliesTo, checkRule, FLAVOURS, type Flavour } from './rule.js';

export interface Result {
  /** 'rules/locks', 'golden/halt'. */
  readonly group: string;
  readonly rule: string;
  /** Where the reference of the driver states it; the recordings speak for themselves. */
  readonly section?: string;
  readonly flavour: Flavour;
  readonly status: 'passed' | 'failed' | 'skipped';
  /** Why it failed, or was skipped. */
  readonly reason?: string;
}

/** The recordings are of version 2. */
const RECORDED_VERSION = 2;

export const flavourName = ({ vendor, kernelVersion }: Flavour): string => `${vendor} v${kernelVersion}`;

/** Of all groups, or those that `wanted` accepts. */
export function* results(wanted: (group: string) => boolean): Generator<Result> {
  yield* ruleResults(wanted);
  yield* goldenResults(wanted);
}

function* ruleResults(wanted: (group: string) => boolean): Generator<Result> {
  for (const { name, rules } of GROUPS) {
    const group = `rules/${name}`;
    if (!wanted(group)) continue;
    for (const rule of rules) {
      for (const flavour of FLAVOURS.filter((each) => appliesTo(rule, each))) {
        const result = { group, rule: rule.name, section: rule.section, flavour };
        try {
          checkRule(rule, flavour);
          yield { ...result, status: 'passed' };
        } catch (error) {
          yield { ...result, status: 'failed', reason: (error as Error).message };
        }
      }
    }
  }
}

function* goldenResults(wanted: (group: string) => boolean): Generator<Result> {
  for (const flavour of FLAVOURS.filter(({ kernelVersion }) => kernelVersion === RECORDED_VERSION)) {
    const host = mockHost(flavour.vendor);
    for (const item of loadCases([ownScenarios], [flavour.vendor], false)) {
      const group = `golden/${item.group}`;
      if (!wanted(group)) continue;
      const { status, reason, differences } = runCase(host, item);
      const why = reason ?? differences.map(describeDifference).join('; ');
      yield { group, rule: item.scenario.name, flavour, status, ...(why && { reason: why }) };
    }
  }
}
