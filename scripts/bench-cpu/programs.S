# The programs of bench:cpu, for any machine that starts this at f000:0000 with memory up to 8 MiB; origin: 0xf0000.
#
# Goes to 32-bit or 64-bit mode, then runs each program once, and again as often as the table `rounds` says. After either
# it writes a line of the program's number and checksum to port 0xe9 and to COM1, and a line of "end" after the last, when
# it also asks the machine to end: a 0 to port 0xf4, "Shutdown" to port 0x8900.
        .set    TABLES, 0x10000         # of pages: PML4, PDPT, PD
        .set    IDT, 0x20000
        .set    STACK, 0x80000
        .set    CRC_TABLE, 0x300000
        .set    SOURCE, 0x400000
        .set    TARGET, 0x600000
        .set    MIB, 1 << 20
        .set    VECTOR, 0x40

        .code16
        jmp     start
        .balign 16
wide:   .long   0                       # not 0: 64-bit mode
        .balign 16
rounds: .fill   7, 4, 1

        .balign 16
gdt:    .quad   0
        .quad   0x00cf9b000000ffff      # 0x08: 32-bit code
        .quad   0x00cf93000000ffff      # 0x10: data
        .quad   0x00af9b000000ffff      # 0x18: 64-bit code
table:  .word   . - gdt - 1
        .long   gdt
noIdt:  .word   8 * (VECTOR + 1) - 1
        .long   IDT
wideIdt:
        .word   16 * (VECTOR + 1) - 1
        .quad   IDT

start:  cli
        lgdtl   %cs:table - 0xf0000
        mov     %cr0, %eax
        or      $1, %eax
        mov     %eax, %cr0
        ljmpl   $8, $flat

        .code32
flat:   mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $STACK, %esp
        cld
        # The data: a linear congruential sequence, and the table of CRC-32.
        mov     $SOURCE, %edi
        mov     $1, %eax
1:      imul    $1664525, %eax, %eax
        add     $1013904223, %eax
        mov     %eax, (%edi)
        add     $4, %edi
        cmp     $SOURCE + MIB, %edi
        jb      1b
        xor     %ebx, %ebx
2:      mov     %ebx, %eax
        mov     $8, %ecx
3:      shr     $1, %eax
        jnc     4f
        xor     $0xedb88320, %eax
4:      loop    3b
        mov     %eax, CRC_TABLE(, %ebx, 4)
        inc     %ebx
        cmp     $256, %ebx
        jb      2b
        cmpl    $0, wide
        jne     enter64

        mov     $interrupt32, %eax
        movl    $8 << 16, IDT + 8 * VECTOR
        mov     %ax, IDT + 8 * VECTOR
        movl    $0x8e00, IDT + 8 * VECTOR + 4
        shr     $16, %eax
        mov     %ax, IDT + 8 * VECTOR + 6
        lidt    noIdt
        jmp     run32

enter64:
        mov     $TABLES, %edi
        xor     %eax, %eax
        mov     $3 * 1024, %ecx
        rep stosl
        movl    $TABLES + 0x1003, TABLES
        movl    $TABLES + 0x2003, TABLES + 0x1000
        mov     $0x83, %eax             # 2 MiB each
        mov     $TABLES + 0x2000, %edi
5:      mov     %eax, (%edi)
        add     $8, %edi
        add     $0x200000, %eax
        cmp     $0x2000083, %eax
        jb      5b
        mov     $interrupt64, %eax
        movl    $0x18 << 16, IDT + 16 * VECTOR
        mov     %ax, IDT + 16 * VECTOR
        movl    $0x8e00, IDT + 16 * VECTOR + 4
        shr     $16, %eax
        mov     %ax, IDT + 16 * VECTOR + 6
        movl    $0, IDT + 16 * VECTOR + 8
        movl    $0, IDT + 16 * VECTOR + 12
        mov     %cr4, %eax
        or      $0x20, %eax             # PAE
        mov     %eax, %cr4
        mov     $TABLES, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx       # EFER.LME
        rdmsr
        or      $0x100, %eax
        wrmsr
        mov     %cr0, %eax
        or      $0x80000000, %eax
        mov     %eax, %cr0
        ljmpl   $0x18, $go64
        .code64
go64:   lidt    wideIdt
        jmp     run64

# The same source for both modes: the arguments are the mode, and how it calls its registers, IRET and a pointer.
        .macro  PROGRAMS bits, ax, bx, cx, dx, si, di, bp, iret, pointer
        .code\bits
run\bits:
        xor     %ebp, %ebp              # the number of the program
1:      mov     $1, %eax
        call    measure\bits
        mov     rounds(, \bp, 4), %eax
        call    measure\bits
        inc     %ebp
        cmp     $7, %ebp
        jb      1b
        call    sieve\bits              # while the last line is read, and the time until then
        mov     $ending, %esi
        call    print\bits
        xor     %eax, %eax
        mov     $0xf4, %edx
        out     %al, %dx
        mov     $shutdown, %esi
        mov     $0x8900, %edx
2:      lodsb
        out     %al, %dx
        test    %al, %al
        jnz     2b
3:      hlt
        jmp     3b

# Runs program ebp as often as eax says, and writes its line.
measure\bits:
        push    \ax
1:      push    \bp
        mov     programs\bits(, \bp, \bits / 8), \ax
        call    *\ax
        pop     \bp
        pop     \dx
        dec     %edx
        push    \dx
        jnz     1b
        pop     \dx
        mov     $line, %edi
        mov     %eax, %ebx
        lea     '0'(\bp), %eax
        stosb
        mov     $':', %al
        stosb
        mov     $8, %ecx
2:      rol     $4, %ebx
        mov     %ebx, %edx
        and     $15, %edx
        mov     digits(\dx), %al
        stosb
        dec     %ecx
        jnz     2b
        mov     $'\n', %eax
        stosw                           # with the 0 at its end
        mov     $line, %esi

# Writes the text at esi.
print\bits:
        lodsb
        test    %al, %al
        jz      1f
        out     %al, $0xe9
        mov     $0x3f8, %edx
        out     %al, %dx
        jmp     print\bits
1:      ret

        .balign 16
alu\bits:
        mov     $1 << 20, %ecx
        mov     $1, %eax
        mov     $12345, %ebx
1:      add     %ebx, %eax
        xor     %eax, %ebx
        rol     $5, %eax
        lea     7(\ax, \bx, 2), %edx
        test    $16, %edx
        jz      2f
        sub     %edx, %ebx
        inc     %esi
2:      imul    $33, %eax, %eax
        dec     %ecx
        jnz     1b
        xor     %ebx, %eax
        ret

        .balign 16
copy\bits:
        mov     $SOURCE, %esi
        mov     $TARGET, %edi
        mov     $MIB / 4, %ecx
        xor     %ebx, %ebx
1:      mov     (\si), %eax
        add     %eax, %ebx
        mov     %eax, (\di)
        add     $4, \si
        add     $4, \di
        dec     %ecx
        jnz     1b
        mov     $TARGET, %esi
        mov     $MIB, %ecx
        mov     $-1, %eax
2:      movzbl  (\si), %edx
        xor     %al, %dl
        shr     $8, %eax
        xor     CRC_TABLE(, \dx, 4), %eax
        inc     \si
        dec     %ecx
        jnz     2b
        not     %eax
        xor     %ebx, %eax
        ret

        .balign 16
sieve\bits:
        mov     $TARGET, %edi
        xor     %ecx, %ecx
1:      movb    $0, (\di, \cx)
        inc     %ecx
        cmp     $MIB, %ecx
        jb      1b
        xor     %eax, %eax              # primes
        mov     $2, %ebx
2:      cmpb    $0, (\di, \bx)
        jne     4f
        inc     %eax
        mov     %ebx, %edx
        jmp     5f
3:      movb    $1, (\di, \dx)
5:      add     %ebx, %edx
        cmp     $MIB, %edx
        jb      3b
4:      inc     %ebx
        cmp     $MIB, %ebx
        jb      2b
        ret

        .balign 16
calls\bits:
        mov     $24, %edi
fibonacci\bits:                         # of edi
        cmp     $2, %edi
        jae     1f
        mov     %edi, %eax
        ret
1:      push    \bx
        push    \di
        dec     %edi
        call    fibonacci\bits
        mov     %eax, %ebx
        pop     \di
        sub     $2, %edi
        call    fibonacci\bits
        add     %ebx, %eax
        pop     \bx
        ret

        .balign 16
strings\bits:
        mov     $SOURCE, %esi
        mov     $TARGET, %edi
        mov     $MIB / 4, %ecx
        rep movsl
        mov     TARGET + MIB - 4, %ebx
        mov     $TARGET, %edi
        mov     $MIB / 4, %ecx
        mov     $0x01020304, %eax
        rep stosl
        mov     $TARGET, %edi
        mov     $MIB, %ecx
        mov     $9, %al
        repne scasb
        lea     (\bx, \cx), %eax
        add     TARGET + MIB - 4, %eax
        ret

        .balign 16
interrupts\bits:
        xor     %eax, %eax
        mov     $10000, %ecx
1:      int     $VECTOR
        dec     %ecx
        jnz     1b
        ret
interrupt\bits:
        inc     %eax
        \iret

        .balign 16
outputs\bits:
        mov     $10000, %eax
1:      out     %al, $0x80
        dec     %eax
        jnz     1b
        ret

        .balign 8
programs\bits:
        \pointer alu\bits, copy\bits, sieve\bits, calls\bits, strings\bits, interrupts\bits, outputs\bits
        .endm

        PROGRAMS 32, %eax, %ebx, %ecx, %edx, %esi, %edi, %ebp, iretl, .long
        PROGRAMS 64, %rax, %rbx, %rcx, %rdx, %rsi, %rdi, %rbp, iretq, .quad

digits: .ascii  "0123456789abcdef"
ending: .asciz  "end\n"
shutdown:
        .asciz  "Shutdown"
        .set    line, 0x1000            # the text of a line, while it is made
