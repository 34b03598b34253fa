# The greatest common divisor of RDI and RSI in RAX, and halts. 64-bit code; origin: 0x1000.
        .code64
        mov     %rdi, %rax
        mov     %rsi, %rcx
next:   test    %rcx, %rcx
        jz      done
        xor     %edx, %edx
        div     %rcx
        mov     %rcx, %rax
        mov     %rdx, %rcx
        jmp     next
done:   hlt
