/** Something that the person who started the command can put right: shown without a stack. */
export class UserError extends Error {}
