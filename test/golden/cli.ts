// The command that runs scenarios: npm run golden -- PATH...
import { relative } from 'node:path';
import { parseArgs } from 'node:util';

import { kernelHost, mockHost, type Host } from '../../lib/selftest/golden/host.js';
import { loadCases, ownScenarios, type Case } from '../../lib/selftest/golden/load.js';
import { describeDifference, nameOf, runCase, type Result } from '../../lib/selftest/golden/suite.js';
import type { Vendor } from '../../lib/selftest/golden/types.js';
import { UserError } from '../../lib/selftest/golden/user-error.js';

const usage = `Usage: npm run golden -- [OPTION]... [PATH]...
Runs golden scenarios, from files or folders, against a device and prints each difference. Without a PATH: those of this
package (${relative('.', ownScenarios)}).

  --device mock|kernel|auto  the device (default: auto, which takes the kernel's if it opens)
  --vendor amd|intel         only the scenarios of this vendor (default on the mock: both)
  --scenario NAME            only the scenarios of this name, or GROUP/NAME; may be repeated
  --json                     one JSON object instead of text
  --verbose                  name the scenarios that passed or were skipped, too
  --help                     this text
`;

interface Options {
  paths: string[];
  device: 'mock' | 'kernel' | 'auto';
  vendor: Vendor | undefined;
  scenarios: string[];
  json: boolean;
  verbose: boolean;
  help: boolean;
}

function oneOf<const T extends string>(option: string, value: string, choices: readonly T[]): T {
  const choice = choices.find((item) => item === value);
  if (choice === undefined) throw new UserError(`--${option} is one of ${choices.join(', ')}, not ${value}.`);
  return choice;
}

function readOptions(args: string[]): Options {
  let parsed;
  try {
    parsed = parseArgs({
      args,
      allowPositionals: true,
      options: {
        device: { type: 'string', default: 'auto' },
        vendor: { type: 'string' },
        scenario: { type: 'string', multiple: true, default: [] },
        json: { type: 'boolean', default: false },
        verbose: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
  } catch (error) {
    throw new UserError(`${(error as Error).message} (--help shows what there is.)`);
  }
  const { values, positionals } = parsed;
  return {
    paths: positionals.length > 0 ? positionals : [ownScenarios],
    device: oneOf('device', values.device, ['mock', 'kernel', 'auto']),
    vendor: values.vendor === undefined ? undefined : oneOf<Vendor>('vendor', values.vendor, ['amd', 'intel']),
    scenarios: values.scenario,
    json: values.json,
    verbose: values.verbose,
    help: values.help,
  };
}

/** The kernel has the vendor of its CPU, the mock any. */
function chooseHosts({ device, vendor }: Options): Host[] {
  const mocks = () => (vendor ? [vendor] : (['amd', 'intel'] as const)).map(mockHost);
  if (device === 'mock') return mocks();
  let host;
  try {
    host = kernelHost();
  } catch (error) {
    if (device === 'kernel') throw error;
    return mocks();
  }
  if (vendor && vendor !== host.vendor) {
    if (device === 'auto') return mocks();
    throw new UserError(
      `The kernel of this system drives an ${host.vendor} CPU: --vendor ${vendor} needs --device mock.`,
    );
  }
  return [host];
}

function chooseCases({ paths, vendor, scenarios }: Options, hosts: Host[]): Case[] {
  const cases = loadCases(
    paths,
    hosts.map((host) => host.vendor),
    vendor !== undefined,
  );
  const chosen =
    scenarios.length === 0
      ? cases
      : cases.filter(({ group, scenario: { name } }) =>
          scenarios.some((wanted) => wanted === name || wanted === `${group}/${name}`),
        );
  if (chosen.length === 0) {
    const what = scenarios.length > 0 ? `named ${scenarios.join(' or ')}` : `for ${vendor ?? 'this device'}`;
    throw new UserError(`No scenario ${what} is in ${paths.join(', ')}.`);
  }
  return chosen;
}

/** On a terminal, a line that counts. */
class Progress {
  readonly #total: number;
  #done = 0;

  constructor(total: number) {
    this.#total = total;
  }

  advance(): void {
    this.#done++;
    if (process.stderr.isTTY && this.#done % 20 === 0) process.stderr.write(`\r${this.#done}/${this.#total} `);
  }

  clear(): void {
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  }
}

function print(result: Result, verbose: boolean): void {
  const { status, reason, differences } = result;
  if (status !== 'failed' && !verbose) return;
  console.log(`${status} ${nameOf(result)}${reason === undefined ? '' : `: ${reason}`}`);
  for (const difference of differences) console.log(`  ${describeDifference(difference)}`);
}

function main(): number {
  const options = readOptions(process.argv.slice(2));
  if (options.help) {
    console.log(usage);
    return 0;
  }
  const hosts = chooseHosts(options);
  const cases = chooseCases(options, hosts);

  const progress = new Progress(cases.length);
  const results = cases.map((item) => {
    const host = hosts.find(({ vendor }) => vendor === item.vendor);
    if (!host) throw new Error(`no host for ${item.vendor}`);
    const result = runCase(host, item);
    progress.advance();
    if (!options.json && (result.status === 'failed' || options.verbose)) {
      progress.clear();
      print(result, options.verbose);
    }
    return result;
  });
  progress.clear();

  const count = (status: Result['status']) => results.filter((result) => result.status === status).length;
  const counts = { passed: count('passed'), failed: count('failed'), skipped: count('skipped') };
  if (options.json) console.log(JSON.stringify({ device: hosts[0]?.device, ...counts, results }, null, 1));
  else console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts.failed > 0 ? 1 : 0;
}

try {
  process.exitCode = main();
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  console.error(`golden: ${error.message}`);
  process.exitCode = 2;
}
