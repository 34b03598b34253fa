# origin: 0x7c00
# Counts ten ticks of the timer, a hundred a second, waiting in HLT (or spinning, if the byte `spins` is not 0), tells so on
# COM1, and ends the VMM with status 7. Real mode.
.code16
        jmp     start
spins:  .byte   0
start:  cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movw    $0x7000, %sp
        movw    $tick, 0x20 * 4
        movw    %ax, 0x20 * 4 + 2
        # The master 8259: vectors from 0x20, everything masked but the timer.
        movb    $0x11, %al
        outb    %al, $0x20
        movb    $0x20, %al
        outb    %al, $0x21
        movb    $0x04, %al
        outb    %al, $0x21
        movb    $0x01, %al
        outb    %al, $0x21
        movb    $0xfe, %al
        outb    %al, $0x21
        # Channel 0 of the 8254: mode 2, 1193182 / 11932 Hz.
        movb    $0x34, %al
        outb    %al, $0x43
        movb    $11932 & 0xff, %al
        outb    %al, $0x40
        movb    $11932 >> 8, %al
        outb    %al, $0x40
        sti
wait:   cmpb    $0, spins
        jne     1f
        hlt
1:      cmpw    $10, ticks
        jb      wait
        cli
        movw    $text, %si
        movw    $0x3f8, %dx
2:      lodsb
        testb   %al, %al
        jz      3f
        outb    %al, %dx
        jmp     2b
3:      movw    $0x501, %dx
        movb    $3, %al
        outb    %al, %dx
        hlt

tick:   pushw   %ax
        incw    ticks
        movb    $0x20, %al
        outb    %al, $0x20
        popw    %ax
        iretw

ticks:  .word   0
text:   .asciz  "ten ticks\n"
