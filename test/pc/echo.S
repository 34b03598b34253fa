# origin: 0x7c00
# Writes "Hello" to the VGA's text memory and "ready" to COM1; sends back in capitals what comes there, and counts the scan codes
# from the keyboard in a digit on the screen. Real mode, never waiting.
.code16
        movw    $0xb800, %ax
        movw    %ax, %es
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    $hello, %si
        xorw    %di, %di
1:      lodsb
        testb   %al, %al
        jz      2f
        movb    $0x07, %ah
        stosw
        jmp     1b
2:      movb    $'0', %es:160
        movw    $ready, %si
        movw    $0x3f8, %dx
3:      lodsb
        testb   %al, %al
        jz      next
        outb    %al, %dx
        jmp     3b

next:   movw    $0x3fd, %dx
        inb     %dx, %al
        testb   $1, %al
        jz      keys
        movw    $0x3f8, %dx
        inb     %dx, %al
        cmpb    $'a', %al
        jb      4f
        andb    $0xdf, %al
4:      outb    %al, %dx
keys:   inb     $0x64, %al
        testb   $1, %al
        jz      next
        inb     $0x60, %al
        incb    %es:160
        jmp     next

hello:  .asciz  "Hello"
ready:  .asciz  "ready\r\n"
