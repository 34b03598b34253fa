// The manual page has the commands and options that the program has.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { optionsOf } from '../../lib/cli/command.js';
import { COMMANDS, GLOBAL_OPTIONS } from '../../lib/cli/commands.js';
import { packageFolder } from '../support/child.js';

const path = join(packageFolder, 'man', 'nvmm.1');
const page = readFileSync(path, 'utf8');

/** The text between a line and the next one of the same or a higher rank. */
const part = (heading: string, end: RegExp): string =>
  page.slice(page.indexOf(`\n${heading}\n`) + heading.length + 2).split(end)[0]!;

/** The options that a part explains, with what they take. */
const explained = (text: string): string[] =>
  [...text.matchAll(/^\.It Fl Fl (\S+)(?: Ar (\S+))?$/gm)].map(([, name, argument = '']) =>
    `${name} ${argument}`.trim(),
  );

describe('nvmm(1)', () => {
  const common = explained(part('.Sh DESCRIPTION', /^\.Sh /m));

  it('has the commands of the program, in its order', () => {
    const commands = part('.Sh COMMANDS', /^\.Sh /m);
    expect([...commands.matchAll(/^\.Ss (\S+)$/gm)].map(([, name]) => name)).to.deep.equal(
      COMMANDS.map(({ name }) => name),
    );
    const synopsis = part('.Sh SYNOPSIS', /^\.Sh /m);
    expect([...synopsis.matchAll(/Fl Fl (\w+)/g)].map(([, name]) => name)).to.deep.equal(Object.keys(GLOBAL_OPTIONS));
  });

  for (const command of COMMANDS) {
    it(`has the options of ${command.name}`, () => {
      const own = explained(part(`.Ss ${command.name}`, /^\.S[sh] /m));
      const options = Object.entries(optionsOf(command)).map(([name, { argument = '' }]) =>
        `${name} ${argument}`.trim(),
      );
      expect([...common, ...own]).to.have.members(options);
    });
  }

  it('is well-formed mdoc', function () {
    if (spawnSync('mandoc', ['-h']).error !== undefined) this.skip();
    expect(execFileSync('mandoc', ['-Tlint', '-Wwarning', path], { encoding: 'utf8' })).to.equal('');
  });
});
