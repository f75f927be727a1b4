# cmake -DNM= -DISA= -DOBJECTS= -P: fails when an object of one instruction set defines a symbol
# outside the namespace of that set. The linker keeps one copy of such a symbol for the whole
# program; were it this one, a machine without the instructions would die in unrelated code.
foreach(object IN LISTS OBJECTS)
    execute_process(COMMAND "${NM}" --defined-only --extern-only --demangle "${object}"
                    OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
    string(REPLACE ";" "," symbols "${symbols}")
    string(REPLACE "\n" ";" symbols "${symbols}")
    foreach(symbol IN LISTS symbols)
        if(symbol AND NOT symbol MATCHES "::${ISA}::")
            message(SEND_ERROR "${object}\n  defines ${symbol}\n  outside the namespace ${ISA}; "
                               "make it static, always_inline, or put it into that namespace")
        endif()
    endforeach()
endforeach()
