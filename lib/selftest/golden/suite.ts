// Runs cases, and says how each ended.
import { needsVirtualization, reasonToSkip } from './conditions.js';
import type { Host } from './host.js';
import type { Case } from './load.js';
import { runSteps } from './runner.js';
import { Session } from './session.js';
import type { Difference } from './types.js';

export interface Result {
  vendor: Case['vendor'];
  group: string;
  scenario: string;
  status: 'passed' | 'failed' | 'skipped';
  /** Why it was skipped. */
  reason?: string;
  differences: Difference[];
}

export function runCase(host: Host, item: Case): Result {
  const { vendor, group, scenario, fixture } = item;
  const named = { vendor, group, scenario: scenario.name };
  const reason = reasonToSkip(host, item);
  if (reason !== undefined) return { ...named, status: 'skipped', reason, differences: [] };
  const device = host.newDevice(needsVirtualization(scenario));
  const differences = runSteps(new Session(device), fixture?.steps ?? [], scenario.steps);
  if (differences.length === 0) return { ...named, status: 'passed', differences };
  if (scenario.may_deviate === undefined) return { ...named, status: 'failed', differences };
  return { ...named, status: 'skipped', reason: `deviates, as it may: ${scenario.may_deviate}`, differences };
}

export const nameOf = ({ vendor, group, scenario }: Result): string => `${vendor} ${group}/${scenario}`;

export const describeDifference = ({ step, inFixture, op, field, expected, got }: Difference): string =>
  `${inFixture ? 'step of the fixture' : 'step'} ${step} (${op}): ${field}: expected ${expected}, got ${got}`;
