// npm run conformance: the driver's rules on the mock, as a table by group and driver.
import { parseArgs } from 'node:util';
import { UserError } from '../../lib/selftest/golden/user-error.js';
import { flavourName, results, type Result } from './report.js';
import { FLAVOURS } from './rule.js';

const usage = `Usage: npm run conformance -- [OPTION]...
Holds the software device against the rules of the driver: those of this package, for both kernel versions and vendors, and
the recorded scenarios, for version 2. Each cell says how many passed of how many.

  --group NAME   only the groups whose name contains this; may be repeated
  --json         one JSON object instead of text
  --verbose      list skipped rules, too
  --help         this text
`;

function readOptions() {
  try {
    return parseArgs({
      options: {
        group: { type: 'string', multiple: true, default: [] },
        json: { type: 'boolean', default: false },
        verbose: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new UserError(`${(error as Error).message} (--help shows what there is.)`);
  }
}

const nameOf = ({ group, rule, flavour }: Result): string => `${group}: ${rule} [${flavourName(flavour)}]`;

const count = (list: readonly Result[], status: Result['status']): number =>
  list.filter((result) => result.status === status).length;

/** What a group did on one driver: `12`, or `11 of 12` where one failed. */
function cell(list: readonly Result[]): string {
  const passed = count(list, 'passed');
  const failed = count(list, 'failed');
  if (list.length === 0) return '-';
  return failed === 0 ? String(passed) : `${passed} of ${passed + failed}`;
}

function printTable(all: readonly Result[]): void {
  const groups = [...new Set(all.map(({ group }) => group))];
  const rows = groups.map((group) => [
    group,
    ...FLAVOURS.map((flavour) =>
      cell(all.filter((result) => result.group === group && flavourName(result.flavour) === flavourName(flavour))),
    ),
  ]);
  const table = [['group', ...FLAVOURS.map(flavourName)], ...rows];
  const widths = table[0]!.map((_, i) => Math.max(...table.map((row) => row[i]!.length)));
  for (const row of table) {
    console.log(row.map((text, i) => (i === 0 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!))).join('  '));
  }
}

function main(): number {
  const options = readOptions();
  if (options.help) {
    console.log(usage);
    return 0;
  }
  const wanted = (group: string): boolean =>
    options.group.length === 0 || options.group.some((part) => group.includes(part));

  const all: Result[] = [];
  for (const result of results(wanted)) {
    all.push(result);
    if (process.stderr.isTTY && all.length % 20 === 0) process.stderr.write(`\r${all.length} ${result.group}\x1b[K`);
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  if (all.length === 0) throw new UserError(`No group is named ${options.group.join(' or ')}.`);

  const counts = { passed: count(all, 'passed'), failed: count(all, 'failed'), skipped: count(all, 'skipped') };
  if (options.json) {
    console.log(JSON.stringify({ ...counts, results: all }));
  } else {
    printTable(all);
    for (const result of all) {
      if (result.status === 'passed' || (result.status === 'skipped' && !options.verbose)) continue;
      console.log(`${result.status} ${nameOf(result)}: ${result.reason ?? ''}`);
    }
    console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  }
  return counts.failed > 0 ? 1 : 0;
}

try {
  process.exitCode = main();
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  console.error(`conformance: ${error.message}`);
  process.exitCode = 2;
}
