# Prints a text through the serial port, one byte an exit, and halts. Real mode; origin: 0x1000.
        .code16
start:  mov     $0x3f8, %dx
        mov     $text, %si
next:   lodsb
        test    %al, %al
        jz      done
        out     %al, %dx
        jmp     next
done:   hlt
        jmp     start

text:   .asciz  "Hello from a guest of NVMM!\n"
