#!/usr/bin/env node
// The command `nvmm`.
import { help, parse, UsageError } from './command.js';
import { COMMANDS, overview } from './commands.js';
import { explain } from './failure.js';
import { packageVersion } from './version.js';

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

async function main([name, ...args]: readonly string[]): Promise<number> {
  switch (name) {
    case undefined:
      process.stderr.write(overview());
      return EXIT_USAGE;
    case '--help':
    case '-h':
    case 'help':
      process.stdout.write(overview());
      return 0;
    case '--version':
      console.log(packageVersion());
      return 0;
  }
  const command = COMMANDS.find((each) => each.name === name);
  if (command === undefined) throw new UsageError(`There is no command "${name}".`);
  const given = parse(command, args);
  if (given.has('help')) {
    process.stdout.write(help(command));
    return 0;
  }
  return await command.run(given);
}

// Whoever reads the output has had enough: `nvmm list | head -1`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

const args = process.argv.slice(2);
try {
  process.exitCode = await main(args);
} catch (error) {
  const message = explain(error);
  if (message === undefined) throw error;
  const command = COMMANDS.find(({ name }) => name === args[0]);
  console.error(`nvmm: ${message}`);
  if (error instanceof UsageError)
    console.error(`nvmm${command === undefined ? '' : ` ${command.name}`} --help shows what there is.`);
  process.exitCode = error instanceof UsageError ? EXIT_USAGE : EXIT_FAILURE;
}
