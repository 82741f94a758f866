#include "status.h"

#include <stdarg.h>
#include <stdio.h>

am_status
am_fail(am_error *err, am_status code, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        /* ASCII only: a name cut in the middle of a character would not decode. */
        for (char *c = err->message; *c != '\0'; c++) {
            *c = *c >= ' ' && *c <= '~' ? *c : '?';
        }
        err->code = code;
    }
    return code;
}

const char *
am_status_name(am_status code)
{
    switch (code) {
        case AM_OK:
            return "ok";
        case AM_ERR_VALUE:
            return "value error";
        case AM_ERR_SHAPE:
            return "shape error";
        case AM_ERR_FORMAT:
            return "format error";
        case AM_ERR_MEMORY:
            return "out of memory";
        case AM_ERR_CANCELLED:
            return "cancelled";
        case AM_ERR_BUSY:
            return "busy";
    }
    return "unknown status";
}
