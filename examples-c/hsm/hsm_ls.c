/*
 * Purpose: lists files with their state: resident, premigrated, migrated.
 * Build:   cc -std=c11 -D_GNU_SOURCE -o hsm_ls hsm_ls.c output.c sessions.c files.c data.c store.c -ldmapi -lcrypto
 * Run:     hsm_ls /data/projects
 * Prints:  STATE              SIZE       LOCAL  PATH
 *          migrated       67108864           0  /data/projects/big.bin
 *
 * Looking makes no event: nothing is recalled by a listing. A file that a recall or a migration works on is "busy".
 */
#include "common.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static struct hsm_context hsm;
static bool json;
static unsigned long listed, failed;

static void usage(FILE *out)
{
    fputs("Usage: hsm_ls [--json] PATH...\n"
          "Lists files (directories recursively) with state, size, and bytes that are here.\n"
          "premigrated is decided by size and time; hsm_migrate compares the data itself.\n",
          out);
}

static void print_json_string(const char *text)
{
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)text; *c != 0; c++) {
        if (*c == '"' || *c == '\\')
            printf("\\%c", *c);
        else if (*c < 0x20)
            printf("\\u%04x", *c);
        else
            putchar(*c);
    }
    putchar('"');
}

static void list(const char *path, void *argument)
{
    struct hsm_file file;
    struct stat status;
    (void)argument;
    bool busy = false;
    if (hsm_file_open(&hsm, path, &file) != 0) {
        busy = errno == EAGAIN;
        if (busy && lstat(path, &status) == 0) {
            file.stat.dt_size = (dm_off_t)status.st_size;
            file.stat.dt_blocks = (dm_size_t)status.st_blocks;
        }
    }
    if (file.handle.hanp == NULL) {
        hsm_log("%s: %s%s", path, strerror(errno),
                errno == ENXIO ? " (not on a managed file system)" : "");
        failed++;
        return;
    }
    const char *state = busy ? "busy" : hsm_state_name(file.state);
    unsigned long long size = (unsigned long long)file.stat.dt_size;
    unsigned long long local = 512ULL * (unsigned long long)file.stat.dt_blocks;
    if (json) {
        printf("%s\n  {\"path\": ", listed == 0 ? "" : ",");
        print_json_string(path);
        printf(", \"state\": \"%s\", \"size\": %llu, \"local\": %llu, \"inode\": %llu}",
               state, size, local, hsm_inode(file.handle));
    } else {
        printf("%-11s %12llu %12llu  %s\n", state, size, local, path);
    }
    listed++;
    hsm_file_free(&file);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'j') {
            json = true;
        } else {
            usage(option == 'h' ? stdout : stderr);
            return option == 'h' ? 0 : 2;
        }
    }
    if (optind == argc) {
        usage(stderr);
        return 2;
    }
    hsm_init_service(0);
    hsm_begin(&hsm, "hsm_ls");
    if (json)
        printf("[");
    else
        printf("%-11s %12s %12s  %s\n", "STATE", "SIZE", "LOCAL", "PATH");
    int unreadable = hsm_walk(argv + optind, list, NULL);
    if (json)
        printf("\n]\n");
    hsm_end_session(hsm.sid);
    return unreadable != 0 || failed != 0 ? 1 : 0;
}
