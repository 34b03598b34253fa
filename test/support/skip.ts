/**
 * Skips the tests of the suite whose `before` hook calls this, or the one that does; their titles then say why.
 * @param reason what is missing: a package by its name, where there is one.
 */
export function skip(context: Mocha.Context, reason: string): void {
  const current = context.runnable() as Mocha.Test | Mocha.Hook;
  const note = (test: Mocha.Runnable): void => {
    test.title += ` (skipped: ${reason})`;
  };
  if (current.type === 'hook') current.parent!.eachTest(note);
  else note(current);
  context.skip();
}
