// Holds a device against the recordings of a real kernel, and against what this library needs.
import os from 'node:os';
import type { Capability } from '../capability.js';
import { openNvmm, type Nvmm } from '../nvmm.js';
import { createMock } from '../mock-system.js';
import { NvmmError } from '../errors.js';
import { CHECKS, runCheck } from '../selftest/checks.js';
import { kernelHost, mockHost, type Host } from '../selftest/golden/host.js';
import { loadCases, ownScenarios } from '../selftest/golden/load.js';
import { describeDifference, runCase } from '../selftest/golden/suite.js';
import type { Command, Given } from './command.js';
import { DEVICE_OPTIONS, deviceName, VENDOR_OPTIONS, vendorOf, type DeviceName, type Vendor } from './device.js';
import { guestCpu, type GuestCpu } from './guest-cpu.js';
import { CommandError, printJson, table } from './output.js';
import { packageVersion } from './version.js';
import { UsageError } from './command.js';

export const selftest: Command = {
  name: 'selftest',
  summary: 'Tests the device, and prints what differs from a real kernel and from what this package needs.',
  description: `Runs the scenarios that were recorded from a real NetBSD kernel, and then a few guests through the whole library.
No other virtual machine may run on the host. Without root some scenarios are left out.
Exit status: 0 if nothing differs, else 1. For a bug report, attach the output of --json.`,
  options: {
    ...DEVICE_OPTIONS,
    vendor: { ...VENDOR_OPTIONS.vendor, help: 'only the mock with this processor, amd or intel; both unless given' },
    verbose: { help: 'names what was skipped, and why' },
    json: { help: 'JSON instead of text, with the system described' },
  },
  async run(given) {
    const subjects = chooseSubjects(deviceName(given), vendorOf(given));
    const results: Result[] = [];
    for (const subject of subjects) {
      for await (const result of testSubject(subject)) {
        results.push(result);
        progress(`${results.length} ${result.group}`);
      }
    }
    progress('');
    const report = {
      system: describeSystem(),
      devices: subjects.map(describe),
      ...counts(results),
      groups: groups(results),
    };
    if (given.has('json')) printJson({ ...report, differences: results.filter(isNews) }, 2);
    else printReport(report.devices, results, given);
    return results.some(({ status }) => status === 'failed') ? 1 : 0;
  },
};

interface Subject {
  readonly host: Host;
  readonly open: () => Nvmm;
}

interface Result {
  readonly vendor: Vendor;
  /** 'golden/halt', 'library'. */
  readonly group: string;
  readonly name: string;
  readonly status: 'passed' | 'failed' | 'skipped';
  /** Why it failed, or was skipped. */
  readonly reasons: readonly string[];
}

const isNews = ({ status }: Result): boolean => status !== 'passed';

/** The kernel has the vendor of its CPU, the mock any. @throws CommandError, NvmmError */
function chooseSubjects(device: DeviceName, vendor: Vendor | undefined): Subject[] {
  if (device !== 'mock') {
    try {
      const open = (): Nvmm => openNvmm({ device: 'kernel' });
      refuseCompany(open);
      if (vendor !== undefined) throw new UsageError('--vendor chooses the processor of the mock: add --device mock.');
      return [{ host: kernelHost(), open }];
    } catch (error) {
      if (device === 'kernel' || !(error instanceof NvmmError)) throw error;
    }
  }
  const vendors: readonly Vendor[] = vendor === undefined ? ['amd', 'intel'] : [vendor];
  return vendors.map((each) => {
    const system = createMock({ vendor: each });
    return { host: mockHost(each), open: () => openNvmm({ device: system }) };
  });
}

/** The scenarios count the machines of the whole system: the lowest number is free when there are no others. */
function refuseCompany(open: () => Nvmm): void {
  using nvmm = open();
  using machine = nvmm.createMachine();
  if (machine.id !== 0) {
    throw new CommandError(
      'Another virtual machine is running on this host, and the recordings were made without any: end it first ("nvmm list" as root shows whose it is).',
    );
  }
}

async function* testSubject({ host, open }: Subject): AsyncGenerator<Result> {
  const { vendor } = host;
  for (const item of loadCases([ownScenarios], [vendor], false)) {
    const { status, reason, differences } = runCase(host, item);
    const reasons = reason === undefined ? differences.map(describeDifference) : [reason];
    yield { vendor, group: `golden/${item.group}`, name: item.scenario.name, status, reasons };
  }
  using nvmm = open();
  for (const check of CHECKS) {
    const failure = await runCheck(nvmm, check);
    const reasons = failure === undefined ? [] : [failure];
    yield { vendor, group: 'library', name: check.name, status: failure === undefined ? 'passed' : 'failed', reasons };
  }
}

// ---- The report ----------------------------------------------------------------------------------------------------------

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

function counts(results: readonly Result[]): Counts {
  const count = (status: Result['status']): number => results.filter((result) => result.status === status).length;
  return { passed: count('passed'), failed: count('failed'), skipped: count('skipped') };
}

/** By group and vendor, in the order of their tests. */
function groups(results: readonly Result[]): (Counts & { group: string; vendor: Vendor })[] {
  const keys = new Map(results.map(({ group, vendor }) => [`${vendor} ${group}`, { group, vendor }]));
  return [...keys.values()].map(({ group, vendor }) => ({
    group,
    vendor,
    ...counts(results.filter((result) => result.group === group && result.vendor === vendor)),
  }));
}

interface DeviceDescription {
  readonly device: Host['device'];
  readonly vendor: Vendor;
  readonly capability: Capability;
  readonly cpu: GuestCpu;
}

function describe({ host, open }: Subject): DeviceDescription {
  using nvmm = open();
  return { device: host.device, vendor: host.vendor, capability: nvmm.capability, cpu: guestCpu(nvmm) };
}

const describeSystem = (): Record<string, string | boolean | undefined> => ({
  nvmm: packageVersion(),
  node: process.version,
  system: `${os.type()} ${os.release()} ${os.machine()}`,
  kernel: os.version(),
  hostCpu: os.cpus()[0]?.model,
  root: process.getuid?.() === 0,
});

function printReport(devices: readonly DeviceDescription[], results: readonly Result[], given: Given): void {
  for (const { device, vendor, capability, cpu } of devices) {
    console.log(`${device}, ${vendor}: kernel API version ${capability.version}, ${cpu.brand || cpu.vendor}`);
  }
  const rows = groups(results).map(({ vendor, group, ...count }) => [
    vendor,
    group,
    count.passed,
    count.failed,
    count.skipped,
  ]);
  console.log(`\n${table([['vendor', 'group', 'passed', 'failed', 'skipped'], ...rows])}\n`);
  for (const { status, vendor, group, name, reasons } of results) {
    if (status === 'passed' || (status === 'skipped' && !given.has('verbose'))) continue;
    console.log(`${status} ${vendor} ${group}: ${name}`);
    for (const reason of reasons) console.log(`  ${reason}`);
  }
  const { passed, failed, skipped } = counts(results);
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
}

/** A line that changes, on a terminal. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}
