// Every code block of README and docs: TypeScript is type-checked and run, shell commands exist, excerpts are true.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect } from 'chai';
import ts from 'typescript';
import { parse } from '../../lib/cli/command.js';
import { COMMANDS } from '../../lib/cli/commands.js';
import { node, packageFolder, start } from '../support/child.js';
import { codeBlocks, programs, type Program } from './blocks.js';

const FILES = ['README.md', ...readdirSync(join(packageFolder, 'docs')).map((name) => join('docs', name))].filter(
  (path) => path.endsWith('.md'),
);

const { scripts } = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
};

// Inside the package, so that its own name leads to it.
const folder = join(packageFolder, 'dist', `docs-${process.pid}`);

interface Sample extends Program {
  /** Without its ending. */
  readonly file: string;
}

const samplesOf = (path: string, blocks: ReturnType<typeof codeBlocks>): Sample[] =>
  programs(blocks).map((program) => ({
    ...program,
    file: join(folder, `${basename(path, '.md')}-line-${program.line}`),
  }));

const documents = FILES.map((path) => {
  const text = readFileSync(join(packageFolder, path), 'utf8');
  const blocks = codeBlocks(text);
  return { path, text, blocks, samples: samplesOf(path, blocks) };
});

/** Compiles all programs at once. @returns the complaints about each. */
function compile(samples: readonly Sample[]): Map<string, string[]> {
  for (const { file, code } of samples) writeFileSync(`${file}.mts`, code);
  const program = ts.createProgram(
    samples.map(({ file }) => `${file}.mts`),
    {
      module: ts.ModuleKind.NodeNext,
      target: ts.ScriptTarget.ES2022,
      lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
      types: ['node'],
      strict: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: true,
    },
  );
  program.emit();
  const complaints = new Map<string, string[]>();
  for (const { file: source, start: position = 0, messageText } of ts.getPreEmitDiagnostics(program)) {
    const line = source === undefined ? 0 : source.getLineAndCharacterOfPosition(position).line + 1;
    const text = `line ${line} of the program: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
    const name = source === undefined ? '' : basename(source.fileName, '.mts');
    complaints.set(name, [...(complaints.get(name) ?? []), text]);
  }
  return complaints;
}

describe('code in README and docs', () => {
  let complaints: Map<string, string[]>;
  before(function () {
    this.timeout(120_000);
    mkdirSync(folder, { recursive: true });
    complaints = compile(documents.flatMap(({ samples }) => samples));
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  for (const { path, text, blocks, samples } of documents) {
    describe(path, () => {
      for (const { file, line, output } of samples) {
        it(`the program at line ${line} is correct TypeScript, and runs`, async () => {
          expect(complaints.get(basename(file)) ?? []).to.deep.equal([]);
          const { status, stdout, stderr } = await node([`${file}.mjs`], { NVMM_DEVICE: 'mock' });
          expect(stderr).to.equal('');
          expect(status).to.equal(0);
          if (output !== undefined) expect(stdout).to.equal(output);
        });
      }

      const excerpts = blocks.filter(({ marker }) => marker.startsWith('from '));
      for (const { code, line, marker } of excerpts) {
        it(`the excerpt at line ${line} is in its file`, () => {
          expect(readFileSync(join(packageFolder, marker.slice(5)), 'utf8')).to.include(code.trimEnd());
        });
      }

      it('names only npm scripts and programs that exist', () => {
        for (const [, name] of text.matchAll(/npm run ([\w:-]+)/g)) expect(scripts, name).to.have.property(name!);
        for (const [, file] of text.matchAll(/\bnode (dist\/[\w/.-]+)/g)) {
          expect(existsSync(join(packageFolder, file!)), file).to.equal(true);
        }
      });

      const commands = blocks
        .filter(({ language }) => language === 'sh')
        .flatMap(({ code }) => [...code.matchAll(/^(?:npx )?nvmm ([^#|>\n]+)/gm)].map(([, line]) => line!.trim()));
      for (const line of new Set(commands)) {
        it(`nvmm ${line}: is a command with these options${line.includes('--device mock') ? ', and works' : ''}`, async () => {
          const [name, ...args] = line.split(/\s+/).map((word) => word.replaceAll("'", ''));
          const command = COMMANDS.find((each) => each.name === name);
          expect(command, name).not.to.equal(undefined);
          parse(command!, args);
          if (!line.includes('--device mock') || name === 'run') return;
          const bounded = name === 'top' ? ['--count', '1'] : [];
          const main = join(packageFolder, 'dist/lib/cli/main.js');
          const { status, stderr } = await start(process.execPath, [main, name!, ...args, ...bounded]).ended;
          expect(status, stderr).to.equal(0);
        });
      }
    });
  }
});

describe('codeBlocks and programs', () => {
  it('join what continues, and know what is printed', () => {
    const markdown = [
      '```ts',
      'const a = 1;',
      '```',
      'text',
      '<!-- continues -->',
      '```ts',
      'console.log(a);',
      '```',
      '<!-- output -->',
      '```text',
      '1',
      '```',
      '<!-- from lib/index.ts -->',
      '```ts',
      'excerpt',
      '```',
      '```c',
      'int c;',
      '```',
    ].join('\n');
    expect(programs(codeBlocks(markdown))).to.deep.equal([
      { line: 2, code: 'const a = 1;\nconsole.log(a);\n', output: '1\n' },
    ]);
    expect(codeBlocks(markdown).map(({ marker }) => marker)).to.deep.equal([
      '',
      'continues',
      'output',
      'from lib/index.ts',
      '',
    ]);
  });
});

describe('the API reference', () => {
  it('has a description of everything that is exported (npm run docs)', async function () {
    this.timeout(180_000);
    const typedoc = join(packageFolder, 'node_modules', '.bin', 'typedoc');
    const { status, stdout } = await start(typedoc, ['--emit', 'none']).ended;
    expect(status, stdout).to.equal(0);
  });
});
