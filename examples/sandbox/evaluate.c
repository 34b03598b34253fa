/*
 * Evaluates an expression such as (1 + 2) * -3: a parser in C, which nobody should trust with what strangers type. To show what
 * then happens, it has three holes: `!` spins, `@` writes where it has no memory, `#` never stops talking.
 *
 * origin: 0x1000, with run(input, length) called by the lines below; its result goes to the host.
 */

enum { CALL_RESULT = 1, CALL_LOG = 2, CALL_ERROR = 3 };

__asm__(".globl _start\n"
        "_start: call run\n"
        "hlt\n");

/* The hypercall: its number in EAX, written to the one port that there is; two arguments. */
static void host(int call, long first, long second)
{
    __asm__ volatile("outl %0, $0x10" : : "a"(call), "D"(first), "S"(second) : "memory");
}

struct parser {
    const char *at, *end;
};

static long sum(struct parser *);

static void fail(const char *message, long length)
{
    host(CALL_ERROR, (long)message, length);
    for (;;)
        __asm__ volatile("hlt");
}

static int peek(struct parser *p)
{
    while (p->at < p->end && *p->at == ' ')
        p->at++;
    return p->at < p->end ? *p->at : -1;
}

static long atom(struct parser *p)
{
    int c = peek(p);
    long value = 0;

    switch (c) {
    case '(':
        p->at++;
        value = sum(p);
        if (peek(p) != ')')
            fail("a ) is missing", 14);
        p->at++;
        return value;
    case '-':
        p->at++;
        return -atom(p);
    case '!':
        for (;;)
            __asm__ volatile("");
    case '@':
        *(volatile int *)0x30000000 = 1;
        return 0;
    case '#':
        for (;;)
            host(CALL_LOG, (long)"#", 1);
    }
    if (c < '0' || c > '9')
        fail("a number is missing", 19);
    for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++)
        value = value * 10 + (*p->at - '0');
    return value;
}

static long product(struct parser *p)
{
    long value = atom(p);

    for (;;) {
        int c = peek(p);
        long right;

        if (c != '*' && c != '/')
            return value;
        p->at++;
        right = atom(p);
        value = c == '*' ? value * right : value / right; /* by zero: the guest has no handler, and ends */
    }
}

static long sum(struct parser *p)
{
    long value = product(p);

    for (;;) {
        int c = peek(p);
        long right;

        if (c != '+' && c != '-')
            return value;
        p->at++;
        right = product(p);
        value = c == '+' ? value + right : value - right;
    }
}

void run(const char *input, long length)
{
    struct parser p = {input, input + length};
    long value = sum(&p);

    if (peek(&p) != -1)
        fail("there is more than an expression", 32);
    host(CALL_LOG, (long)"evaluated", 9);
    host(CALL_RESULT, value, 0);
}
