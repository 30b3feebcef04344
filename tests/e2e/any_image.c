/* The command of an image that has no shell: as CHECKS of test_any_image.py. Its exit code tells which check failed. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    static const char *const foreign[] = {"PYTHONHOME", "LD_LIBRARY_PATH", "LC_CTYPE", "SSL_CERT_FILE",
                                          "HAMMERWORK_DATABASE_URL"};
    char payload[1024] = "";
    if (read(0, payload, sizeof payload - 1) < 0 || strstr(payload, "\"index\"") == NULL) return 101;
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (getenv(foreign[i]) != NULL) return 102;
    const char *own = getenv("OWN"), *path = getenv("PYTHONPATH"), *index = getenv("HAMMERWORK_JOB_INDEX");
    if (own == NULL || strcmp(own, "kept") != 0 || path == NULL || strcmp(path, "/own") != 0) return 103;
    if (index == NULL || getuid() != 1000680000) return 104;
    if (open("/written", O_CREAT | O_WRONLY, 0600) >= 0 || errno != EROFS) return 105;
    return 0;
}
