# An option ROM that takes over from the BIOS when it would boot (INT 19h): puts the setup code and the command line of a
# kernel, which follow in the ROM, where they belong, and enters the setup code as the 16-bit boot protocol says. (The BIOS
# clears low memory before, or they could lie there from the start.) origin: 0x0
.code16
rom:    .byte   0x55, 0xaa
blocks: .byte   0                       # of 512 bytes; filled in
        jmp     init
setup:  .word   0                       # bytes of setup code, an even number; filled in
line:   .word   0                       # bytes of the command line; filled in
        .org    0x18
        .word   0, 0                    # no PCI and no plug-and-play header

# INT 19h is ours from now on.
init:   pushw   %ax
        pushw   %ds
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    $boot, 0x19 * 4
        movw    %cs, 0x19 * 4 + 2
        popw    %ds
        popw    %ax
        lretw

boot:   cli
        cld
        movw    %cs, %ax
        movw    %ax, %ds
        movw    $0x2000, %ax
        movw    %ax, %es
        movw    $end, %si
        xorw    %di, %di
        movw    line, %cx
        rep movsb
        movw    $0x1000, %ax
        movw    %ax, %es
        xorw    %di, %di
        movw    setup, %cx
        rep movsb
# The registers that setup code finds: all segments at its header, the stack behind its heap, CS 0x20 paragraphs further.
        movw    %ax, %ds
        movw    %ax, %fs
        movw    %ax, %gs
        movw    %ax, %ss
        movw    $0xfff0, %sp
        ljmpw   $0x1020, $0
end:
