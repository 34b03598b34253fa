// npm run bench: all benchmarks, one after the other, as one JSON object in docs/performance.json and as a table for people in
// docs/performance.md. A benchmark that lacks what it compares with is named with its reason, and the others go on.
//
//   --only NAME      this one only; may be repeated; writes nothing unless --out is given
//   --quick          a fifth of the measurements; writes nothing unless --out is given
//   --out FOLDER     where to write (docs unless given)
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem, type } from 'node:os';
import { join } from 'node:path';
import type { Row } from './bench.js';
import { root } from './build-variant.js';
import { nameOf, readOptions } from './options.js';

const { scripts, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
  version: string;
};
/** Every other command that is a benchmark. */
const BENCHMARKS = Object.keys(scripts)
  .filter((name) => name.startsWith('bench:'))
  .map((name) => name.slice('bench:'.length));

const values = readOptions({
  options: {
    only: { type: 'string', multiple: true, default: BENCHMARKS },
    out: { type: 'string' },
    quick: { type: 'boolean', default: false },
  },
});
for (const name of values.only) nameOf('only', name, BENCHMARKS);

interface Result {
  name: string;
  rows: Row[];
  /** Why it gave no figures. */
  failure?: string;
}

function run(name: string): Result {
  console.error(`bench:${name} …`);
  const options = values.quick ? ['--json', '--quick'] : ['--json'];
  const { status, signal, stdout, stderr } = spawnSync('npm', ['run', '--silent', `bench:${name}`, '--', ...options], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  try {
    if (status !== 0) {
      const lines = stderr.trim().split('\n');
      // Node's version follows an error that was not caught.
      const said = lines.find((line) => /^\w*Error\b/.test(line)) ?? lines.at(-1)!;
      throw new Error(said !== '' ? said : `It ended with ${signal ?? `status ${status}`}, and said nothing.`);
    }
    return { name, rows: (JSON.parse(stdout.slice(stdout.indexOf('{'))) as { rows: Row[] }).rows };
  } catch (error) {
    return { name, rows: [], failure: (error as Error).message };
  }
}

const firstLine = (command: string, ...args: string[]): string =>
  spawnSync(command, args, { encoding: 'utf8' }).stdout?.split('\n')[0] ?? 'none'; // eslint-disable-line @typescript-eslint/no-unnecessary-condition -- none if there is no such command

const results = values.only.map(run);
const report = {
  machine: {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    system: `${type()} ${release()} ${process.arch}`,
  },
  versions: { nvmm: version, node: process.version, compiler: firstLine('c++', '--version') },
  date: new Date().toISOString().slice(0, 10),
  results,
};

const figure = (value: number): string =>
  Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en') : value.toPrecision(3);

function table({ name, rows, failure }: Result): string {
  const head = `## ${name}\n\n\`npm run bench:${name}\`\n\n`;
  if (failure !== undefined) return `${head}No figures: ${failure}\n`;
  const lines = rows.map(({ name, value, unit, baseline, ratio }) => {
    const cells = [name.replaceAll('|', '\\|'), `${figure(value)} ${unit}`];
    cells.push(
      baseline === undefined ? '' : `${figure(baseline)} ${unit}`,
      ratio === undefined ? '' : ratio.toFixed(2),
    );
    return `| ${cells.join(' | ')} |`;
  });
  return `${head}| What | Here | Compared with | Ratio |\n| --- | ---: | ---: | ---: |\n${lines.join('\n')}\n`;
}

const { machine, versions } = report;
const text = `# Performance

Made by \`npm run bench${values.quick ? ' -- --quick' : ''}\` on ${report.date}: don't edit. ${machine.cpu}, ${machine.cores} processors, ${machine.memory},
${machine.system}; nvmm ${versions.nvmm}, Node ${versions.node}, ${versions.compiler}.

Only ratios mean something elsewhere: what is compared was measured in turns in the same run, and medians are shown. What a
benchmark compares with is said at the head of scripts/bench-NAME.ts.

${results.map(table).join('\n')}`;

const folder =
  values.out ?? (values.only.length === BENCHMARKS.length && !values.quick ? join(root, 'docs') : undefined);
if (folder === undefined) {
  console.log(text);
} else {
  writeFileSync(join(folder, 'performance.json'), `${JSON.stringify(report, undefined, 2)}\n`);
  writeFileSync(join(folder, 'performance.md'), text);
  console.log(`${join(folder, 'performance.md')} is written.`);
}
process.exitCode = results.some(({ failure }) => failure !== undefined) ? 1 : 0;
