# Echoes what port 0x10 gives to port 0x11, until it gives 0. Real mode; origin: 0x1000.
        .code16
next:   in      $0x10, %al
        test    %al, %al
        jz      done
        out     %al, $0x11
        jmp     next
done:   hlt
