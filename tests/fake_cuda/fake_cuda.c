/* A CUDA driver for tests, of the calls that edge and pycuda make: device memory is malloc'ed, and a stream is a list
 * of work that is done when somebody waits for it, and not before. So whoever forgets to wait reads old bytes. It
 * counts what is alive, and fails the calls that it is told to (fake_fail). It has no kernels and cannot serve TensorRT.
 * One thread at a time: the owner's. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Result;
enum { OK = 0, INVALID_VALUE = 1, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_READY = 600, CAPTURE = 900 };

typedef void (*HostFunction)(void *);
typedef struct { enum { COPY, CALL, MARK } kind; void *to; const void *from; size_t bytes; HostFunction call; } Work;
typedef struct { Work *items; int count, room; } List;
typedef struct { List pending, *captured; } Stream;
typedef struct { List work; } Graph;
typedef struct { int done; Stream *stream; } Event;

enum { CONTEXTS, PUSHED, STREAMS, EVENTS, DEVICE_BUFFERS, HOST_BUFFERS, GRAPHS, GRAPH_EXECS, KINDS };
static int live[KINDS], devices = 1, integrated = 0, launches = 0;
static struct { char name[64]; int code, after; } failing[8];

static int failure(const char *name) {
    for (int i = 0; i < 8; i++)
        if (!strcmp(failing[i].name, name) && failing[i].after-- <= 0) return failing[i].code;
    return OK;
}
#define MAY_FAIL do { int code = failure(__func__); if (code) return code; } while (0)
#define NEEDS_CONTEXT do { if (live[PUSHED] < 1) return INVALID_CONTEXT; MAY_FAIL; } while (0)

/* What tests ask and tell. */
int fake_live(int kind) { return live[kind]; }
int fake_launches(void) { return launches; }
void fake_set_devices(int count) { devices = count; }
void fake_set_integrated(int yes) { integrated = yes; }
void fake_fail(const char *name, int code, int after) { /* from the call `after` on; code 0 heals all */
    static int next = 0;
    if (!code) { memset(failing, 0, sizeof failing); return; }
    snprintf(failing[next % 8].name, 64, "%s", name);
    failing[next % 8].code = code, failing[next++ % 8].after = after;
}

static void append(List *list, Work work) {
    if (list->count == list->room) list->items = realloc(list->items, (list->room = list->room * 2 + 8) * sizeof work);
    list->items[list->count++] = work;
}
static Result enqueue(Stream *stream, Work work) {
    if (!stream) return INVALID_HANDLE; /* the default stream: edge never means it */
    append(stream->captured ? stream->captured : &stream->pending, work);
    return OK;
}
static Result drain(Stream *stream) {
    if (stream->captured) return CAPTURE;
    for (int i = 0; i < stream->pending.count; i++) {
        Work w = stream->pending.items[i];
        if (w.kind == COPY) memcpy(w.to, w.from, w.bytes);
        else if (w.kind == CALL) w.call(w.to);
        else ((Event *)w.to)->done = 1;
    }
    stream->pending.count = 0;
    return OK;
}

Result cuInit(unsigned flags) { MAY_FAIL; return flags ? INVALID_VALUE : OK; }
Result cuDriverGetVersion(int *version) { *version = 12060; return OK; }
Result cuGetErrorName(Result code, const char **name) {
    *name = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : code == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS" : code == 999
        ? "CUDA_ERROR_UNKNOWN" : code == 100 ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_FAKE";
    return OK;
}
Result cuGetErrorString(Result code, const char **text) { return cuGetErrorName(code, text); }
Result cuDeviceGetCount(int *count) { MAY_FAIL; *count = devices; return OK; }
Result cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal < devices ? OK : 101; }
Result cuDeviceGetName(char *name, int room, int device) { snprintf(name, room, "Fake GPU %d", device); return OK; }
Result cuDeviceGetUuid_v2(char *uuid, int device) { memset(uuid, 0x11 * (device + 1), 16); return OK; }
Result cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 18 ? integrated : 0; /* compute 8.7 */
    return OK;
}
Result cuDevicePrimaryCtxRetain(void **context, int device) {
    MAY_FAIL; (void)device; *context = &live[CONTEXTS]; live[CONTEXTS]++; return OK;
}
Result cuDevicePrimaryCtxRelease_v2(int device) { (void)device; return live[CONTEXTS]-- < 1 ? INVALID_CONTEXT : OK; }
Result cuCtxPushCurrent_v2(void *context) { (void)context; live[PUSHED]++; return OK; }
Result cuCtxPopCurrent_v2(void **context) {
    *context = &live[CONTEXTS]; return live[PUSHED]-- < 1 ? INVALID_CONTEXT : OK;
}
Result cuCtxGetDevice(int *device) { NEEDS_CONTEXT; *device = 0; return OK; }
Result cuCtxSynchronize(void) { return OK; }

Result cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    NEEDS_CONTEXT;
    void *memory = malloc(bytes);
    memset(memory, 0xAA, bytes);
    *address = (uint64_t)(uintptr_t)memory; live[DEVICE_BUFFERS]++;
    return OK;
}
Result cuMemFree_v2(uint64_t address) { free((void *)(uintptr_t)address); live[DEVICE_BUFFERS]--; return OK; }
Result cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
    NEEDS_CONTEXT; (void)flags; *memory = calloc(1, bytes); live[HOST_BUFFERS]++; return OK;
}
Result cuMemFreeHost(void *memory) { free(memory); live[HOST_BUFFERS]--; return OK; }
Result cuMemHostGetDevicePointer_v2(uint64_t *address, void *memory, unsigned flags) {
    (void)flags; *address = (uint64_t)(uintptr_t)memory; return OK;
}
Result cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, Stream *stream) {
    NEEDS_CONTEXT; return enqueue(stream, (Work){COPY, (void *)(uintptr_t)to, from, bytes, 0});
}
Result cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, Stream *stream) {
    NEEDS_CONTEXT; return enqueue(stream, (Work){COPY, to, (void *)(uintptr_t)from, bytes, 0});
}
Result cuLaunchHostFunc(Stream *stream, HostFunction call, void *data) {
    NEEDS_CONTEXT; return enqueue(stream, (Work){CALL, data, 0, 0, call});
}

Result cuStreamCreate(Stream **stream, unsigned flags) {
    NEEDS_CONTEXT; (void)flags; *stream = calloc(1, sizeof **stream); live[STREAMS]++; return OK;
}
Result cuStreamDestroy_v2(Stream *stream) { free(stream->pending.items); free(stream); live[STREAMS]--; return OK; }
Result cuStreamSynchronize(Stream *stream) { NEEDS_CONTEXT; return drain(stream); }
Result cuStreamQuery(Stream *stream) { return stream->pending.count ? NOT_READY : OK; }
Result cuEventCreate(Event **event, unsigned flags) {
    NEEDS_CONTEXT; (void)flags; *event = calloc(1, sizeof **event); (*event)->done = 1; live[EVENTS]++; return OK;
}
Result cuEventDestroy_v2(Event *event) { free(event); live[EVENTS]--; return OK; }
Result cuEventRecord(Event *event, Stream *stream) {
    NEEDS_CONTEXT;
    event->done = 0, event->stream = stream;
    return enqueue(stream, (Work){MARK, event, 0, 0, 0});
}
Result cuEventSynchronize(Event *event) { NEEDS_CONTEXT; return event->done ? OK : drain(event->stream); }

Result cuStreamBeginCapture_v2(Stream *stream, int mode) {
    NEEDS_CONTEXT; (void)mode;
    if (stream->captured) return CAPTURE;
    stream->captured = calloc(1, sizeof(Graph)); live[GRAPHS]++;
    return OK;
}
Result cuStreamEndCapture(Stream *stream, Graph **graph) {
    Graph *captured = (Graph *)stream->captured;
    int code = failure(__func__);
    stream->captured = 0, *graph = 0; /* as the real one: a failed capture ends too, and leaves no graph */
    if (!captured) return CAPTURE + 1;
    if (!code) { *graph = captured; return OK; }
    free(captured->work.items); free(captured); live[GRAPHS]--;
    return code;
}
Result cuGraphInstantiateWithFlags(Graph **exec, Graph *graph, unsigned long long flags) {
    NEEDS_CONTEXT; (void)flags;
    *exec = calloc(1, sizeof **exec); live[GRAPH_EXECS]++;
    for (int i = 0; i < graph->work.count; i++) append(&(*exec)->work, graph->work.items[i]);
    return OK;
}
Result cuGraphDestroy(Graph *graph) { free(graph->work.items); free(graph); live[GRAPHS]--; return OK; }
Result cuGraphExecDestroy(Graph *exec) { free(exec->work.items); free(exec); live[GRAPH_EXECS]--; return OK; }
Result cuGraphLaunch(Graph *exec, Stream *stream) {
    NEEDS_CONTEXT;
    for (int i = 0; i < exec->work.count; i++) append(&stream->pending, exec->work.items[i]);
    launches++;
    return OK;
}
