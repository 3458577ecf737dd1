/* Log lines, sizes and progress; see common.h. */
#include "common.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Seconds between two lines of progress. */
#define TERMINAL_INTERVAL_S 0.2
#define PLAIN_INTERVAL_S 10.0

static void log_line(const char *format, va_list arguments)
{
    char text[1024];
    char clock_text[16] = "";
    time_t now = time(NULL);
    struct tm parts;
    if (localtime_r(&now, &parts) != NULL)
        strftime(clock_text, sizeof clock_text, "%H:%M:%S", &parts);
    vsnprintf(text, sizeof text, format, arguments);
    /* One write: lines of several threads do not mix. */
    fprintf(stderr, "%s %s\n", clock_text, text);
}

void hsm_log(const char *format, ...)
{
    int error = errno;
    va_list arguments;
    va_start(arguments, format);
    log_line(format, arguments);
    va_end(arguments);
    errno = error;
}

void hsm_die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_line(format, arguments);
    va_end(arguments);
    exit(1);
}

uint64_t hsm_parse_size(const char *text, const char *option)
{
    static const char units[] = "KMGT";
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    unsigned shift = 0;
    if (end != text && *end != 0) {
        const char *unit = strchr(units, *end);
        if (unit != NULL && end[1] == 0) {
            shift = 10 * (unsigned)(unit - units + 1);
            end++;
        }
    }
    if (errno != 0 || end == text || *end != 0 || text[0] == '-' || value > UINT64_MAX >> shift)
        hsm_die("%s: \"%s\" is no size; give bytes, with K, M, G or T if you like", option, text);
    return (uint64_t)value << shift;
}

const char *hsm_human(uint64_t bytes)
{
    static _Thread_local char texts[4][24];
    static _Thread_local unsigned next;
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    char *text = texts[next++ % 4];
    double value = (double)bytes;
    unsigned unit = 0;
    for (; value >= 1024 && unit < 5; unit++)
        value /= 1024;
    snprintf(text, sizeof texts[0], unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text;
}

double hsm_seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void hsm_progress_start(struct hsm_progress *progress, const char *verb)
{
    progress->verb = verb;
    progress->started_s = progress->printed_s = hsm_seconds_now();
    progress->terminal = isatty(STDERR_FILENO) == 1;
}

void hsm_progress_add(struct hsm_progress *progress, uint64_t bytes)
{
    if (progress == NULL)
        return;
    progress->bytes_done += bytes;
    double now_s = hsm_seconds_now();
    if (now_s - progress->printed_s < (progress->terminal ? TERMINAL_INTERVAL_S : PLAIN_INTERVAL_S))
        return;
    progress->printed_s = now_s;
    double rate = (double)progress->bytes_done / (now_s - progress->started_s);
    double left_s = rate <= 0 || progress->bytes_done >= progress->bytes_total
                        ? 0
                        : (double)(progress->bytes_total - progress->bytes_done) / rate;
    fprintf(stderr, "%s%s %lu/%lu files, %s of %s, %s/s, %.0f s left%s",
            progress->terminal ? "\r\033[K" : "", progress->verb, progress->files_done,
            progress->files_total, hsm_human(progress->bytes_done),
            hsm_human(progress->bytes_total), hsm_human((uint64_t)rate), left_s,
            progress->terminal ? "" : "\n");
    fflush(stderr);
}

void hsm_progress_clear(const struct hsm_progress *progress)
{
    if (progress->terminal)
        fputs("\r\033[K", stderr);
}
