// npm run test:faults: a test that cannot fail proves nothing. Builds the mock with deliberate faults, and shows that each
// group of rules is green without any and red with the one that is meant for it.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { Result } from '../test/rules/report.js';
import { buildVariant, root } from './build-variant.js';

/** By group, the name of a fault in native/mock/faults. */
const FAULTS: Readonly<Record<string, string>> = {
  'rules/version 1': 'stop-in-version-1',
  'rules/ownership': 'foreign-is-absent',
  'rules/limits': 'full-is-enomem',
  'rules/locks': 'nobody-waits',
  'rules/signals': 'deaf',
  'rules/stop': 'stopped-is-none',
  'rules/preemption': 'state-without-entry',
  'rules/time slices': 'no-state-at-none',
  'rules/faults on order': 'forgets-orders',
  'golden/comm': 'executable-page',
  'golden/comm-state': 'all-cached',
  'golden/control-registers': 'cr0-ne-hidden',
  'golden/ctl': 'no-pid',
  'golden/events': 'pending-event-hidden',
  'golden/exit-cpuid': 'cpuid-npc',
  'golden/exit-io': 'io-of-four-bytes',
  'golden/exit-memory': 'memory-of-page',
  'golden/exit-msr': 'wrmsr-low-half',
  'golden/halt': 'shadow-after-halt',
  'golden/instructions': 'mwait-is-monitor',
  'golden/invalid-state': 'invalid-is-shutdown',
  'golden/ioctl': 'unknown-is-enotty',
  'golden/limits': 'full-is-enomem',
  'golden/machine': 'machine-parameters',
  'golden/memory': 'unmap-of-nothing',
  'golden/modes': 'code-of-16-bits',
  'golden/open': 'no-cloexec-needed',
  'golden/ownership': 'foreign-is-absent',
  'golden/paging': 'cr2-lost',
  'golden/programs': 'flags-lost',
  'golden/reset-state': 'reset-family',
  'golden/run': 'state-without-entry',
  'golden/setstate-masks': 'cr4-vmxe-shown',
  'golden/tpr': 'tpr-cr8-lost',
  'golden/vcpu': 'busy-is-eexist',
  'golden/windows': 'window-stays-armed',
};

const folder = buildVariant('faults', { NVMM_MOCK_FAULTS: 'ON' }, ['nvmm', 'nvmm_raw', 'nvmm_mock']);

/** What the groups named so come to on the mock with this fault. */
function conformance(fault: string | undefined, group?: string): Result[] {
  const { NVMM_MOCK_FAULT: _, ...env } = process.env;
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [join(root, 'dist/test/rules/cli.js'), '--json', ...(group === undefined ? [] : ['--group', group])],
    {
      cwd: root,
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
      env: { ...env, NVMM_BUILD_DIR: join(folder, 'Release'), ...(fault !== undefined && { NVMM_MOCK_FAULT: fault }) },
    },
  );
  if (stdout === '') throw new Error(`conformance gave no report: ${stderr}`);
  return (JSON.parse(stdout) as { results: Result[] }).results;
}

const failed = (results: Result[], group: string): number =>
  results.filter((result) => result.group === group && result.status === 'failed').length;

let wrong = 0;
const healthy = conformance(undefined);
const groups = [...new Set(healthy.map(({ group }) => group))];
for (const group of groups) {
  const fault = FAULTS[group];
  const without = failed(healthy, group);
  const withFault = fault === undefined ? 0 : failed(conformance(fault, group), group);
  const good = without === 0 && withFault > 0;
  if (!good) wrong++;
  const fails = without > 0 ? `${without} fail without a fault` : `${withFault} fail with ${fault ?? 'no fault known'}`;
  console.log(`${good ? 'noticed' : 'MISSED '}  ${group.padEnd(24)}  ${fails}`);
}
console.log(`${groups.length - wrong} of ${groups.length} groups turn red with their fault and are green without`);
process.exitCode = wrong === 0 ? 0 : 1;
