"""A Django application, as far as it takes one to give a connection away."""

from __future__ import annotations

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.beside.app import echo, manager


def echo_view(request: HttpRequest) -> HttpResponse:
    answer = manager.upgrade(request.environ, echo)
    return HttpResponse(answer.data, status=answer.status_code, headers=dict(answer.headers))


urlpatterns = [path("echo", echo_view)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
application = get_wsgi_application()
